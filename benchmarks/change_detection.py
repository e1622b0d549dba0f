"""How many observations a second one change-detection process takes, what each costs, and how soon events are out.

Usage: python -m benchmarks.change_detection [--bootstrap HOST:PORT] [--observations N] [--rounds N]

Rate: pages of 99 jobs of about 500 bytes are put into Kafka beforehand, a fifth of the jobs changing from pass to pass;
then the worker is started and watched until it has acknowledged them all.
Delay: a running worker gets 100 such pages a second, evenly, for twenty seconds; the delay of an event is from handing
its page to a producer until a consumer has the event. Both clients are in this process and share the machine, and have
sent and read something before: to connect an idempotent producer takes half a second.

Without a broker named, one is started. Of several rounds the medians are kept beside the rounds.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from uuid import uuid4

import psutil
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from msgspec.structs import replace

from benchmarks.measuring import ROOT, broker, cpu_seconds, ends, record
from devtools.processes import free_port, spawn, stop
from runtime.kafka import headers_of, make_producer
from runtime.settings import KafkaSettings
from schemas.codec import encode
from schemas.ids import CallJobId, CallTaskId, PageId, ReferenceId, TaskId, reference_id_for
from schemas.instants import format_instant, from_milliseconds
from schemas.jobs import JobSnapshot, JobsPolled, Turn
from schemas.topics import JOBS_POLLED, STATUS_CHANGED
from streams.changelogs import CHANGES_APP, PAGES

PARTITIONS, PAGE_JOBS, PAGES_OF_TASKS, CHANGED = 4, 99, 200, 5
T0 = 1_790_000_000_000
DELAY_PAGES = 2_000
WORKER = """
import sys
from runtime.logs import configure_logs
from runtime.settings import Settings
from streams.worker import run_changes
configure_logs(form="json", level="WARNING", role="changes")
run_changes(Settings.load(), topic_prefix=sys.argv[1])
"""


def main() -> None:
    """Measure some rounds and keep the medians."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bootstrap")
    parser.add_argument("--observations", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with broker(arguments.bootstrap) as bootstrap:
        rounds = [measure(bootstrap, arguments.observations) for _ in range(arguments.rounds)]
        delays = measure_delay(bootstrap)
    medians = {name: statistics.median(r[name] for r in rounds) for name in rounds[0]}
    record("change_detection", medians | delays | {"rounds": rounds})


@contextmanager
def topics(bootstrap: str) -> Iterator[str]:
    """Make the topics of one measurement, and give the prefix of their names."""
    prefix = f"bench-{uuid4().hex[:8]}-"
    names = [prefix + name for name in (JOBS_POLLED.name, JOBS_POLLED.dead_letters, STATUS_CHANGED.name, PAGES.name)]
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for created in admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in names]).values():
        created.result(30)
    yield prefix
    for deleted in admin.delete_topics(names).values():
        deleted.result(30)


def measure(bootstrap: str, observations: int) -> dict[str, float]:
    """Load the pages, run the worker, and return what it took."""
    with topics(bootstrap) as prefix:
        pages, size = load(bootstrap, prefix, observations)
        seconds, cpu, memory = watch(bootstrap, prefix, pages)
        events = sum(ends(bootstrap, prefix + STATUS_CHANGED.name))
    taken = pages * PAGE_JOBS
    return {
        "observations": taken,
        "bytes_each": round(size / taken),
        "events": events,
        "seconds": round(seconds, 2),
        "observations_per_second": round(taken / seconds),
        "worker_cpu_us_each": round(cpu / taken * 1e6, 2),
        "worker_rss_mb": round(memory / 2**20),
    }


def load(bootstrap: str, prefix: str, observations: int) -> tuple[int, int]:
    """Put the pages into Kafka; return how many, and their size altogether."""
    producer = Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2_random", "compression.type": "lz4"})
    size = 0
    count = -(-observations // PAGE_JOBS)
    for number in range(count):
        page, turn = number % PAGES_OF_TASKS, number // PAGES_OF_TASKS
        value = encode(page_of(page, turn))
        size += len(value)
        producer.produce(prefix + JOBS_POLLED.name, key=f"page-{page}", value=value)
        producer.poll(0)
    assert producer.flush(60) == 0
    return count, size


def page_of(page: int, turn: int) -> JobsPolled:
    """A page as the poller sees it in its n-th pass; every fifth job has changed since the pass before."""
    return JobsPolled(
        page_id=PageId(f"page-{page}"),
        observed_at=from_milliseconds(T0 + turn * 5_000),
        jobs=tuple(job_of(page, number, (turn + number) // CHANGED) for number in range(PAGE_JOBS)),
    )


def job_of(page: int, number: int, state: int) -> JobSnapshot:
    """A job of about 500 bytes."""
    task, began = TaskId(f"task-{page // 10}"), T0 + number * 1_000 + state
    reference = reference_id_for(task, f"lead-{page}-{number}")  # type: ignore[arg-type]
    return JobSnapshot(
        task_id=task,
        reference_id=ReferenceId(reference),
        call_job_id=CallJobId(f"{page:08x}-{number:04x}-4000-8000-000000000000"),
        call_status="Executing" if state % 2 else "Scheduling",
        call_conversation=(Turn(speaker="Contact", script=f"您好，我现在在开会 {state}", at=from_milliseconds(began)),),
        stored_version=2**53,
        stored_status="Executing" if state % 2 else "Scheduling",
        planed_time=from_milliseconds(T0),
        call_task_id=CallTaskId(f"{state:08x}-{number:04x}-4000-8000-111111111111"),
        calling_number="057112345678",
        started_at=from_milliseconds(began),
    )


@contextmanager
def running_worker(bootstrap: str, prefix: str) -> Iterator[psutil.Process]:
    """Run a worker, and give it once it has emitted something."""
    env = os.environ | {"CALLSTREAM_KAFKA_BOOTSTRAP_SERVERS": bootstrap, "CALLSTREAM_HTTP_PORT": str(free_port())}
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "worker.log").open("wb") as log:
        worker = spawn([sys.executable, "-c", WORKER, prefix], stdout=log, cwd=ROOT, env=env)
        try:
            while not sum(ends(bootstrap, prefix + STATUS_CHANGED.name)):
                assert worker.poll() is None, Path(log.name).read_text()
                time.sleep(0.02)
            yield psutil.Process(worker.pid)
        finally:
            stop(worker)


def watch(bootstrap: str, prefix: str, pages: int) -> tuple[float, float, int]:
    """Run the worker over all pages; return seconds and CPU from the first event to the last acknowledgement."""
    with running_worker(bootstrap, prefix) as process:
        started, before = time.monotonic(), cpu_seconds(process)
        consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": prefix + CHANGES_APP})
        places = [TopicPartition(prefix + JOBS_POLLED.name, partition) for partition in range(PARTITIONS)]
        while sum(max(0, place.offset) for place in consumer.committed(places, timeout=10)) < pages:
            assert process.is_running()
            time.sleep(0.05)
        seconds, after = time.monotonic() - started, cpu_seconds(process)
        consumer.close()
        return seconds, after - before, process.memory_info().rss


def measure_delay(bootstrap: str) -> dict[str, float]:
    """Send 100 pages a second to a running worker; return percentiles of milliseconds from page to event."""
    pages = _delay_pages()
    with topics(bootstrap) as prefix:
        load(bootstrap, prefix, PAGES_OF_TASKS * PAGE_JOBS)  # the table is filled, so that a fifth changes
        with running_worker(bootstrap, prefix):
            consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "delay"})
            topic, expected = prefix + STATUS_CHANGED.name, PAGES_OF_TASKS * PAGE_JOBS
            while sum(filled := ends(bootstrap, topic)) < expected:
                time.sleep(0.1)
            consumer.assign([TopicPartition(topic, number, end) for number, end in enumerate(filled)])
            sent: dict[str, float] = {}
            sender = Thread(target=_send_evenly, args=(bootstrap, prefix, pages, sent))
            sender.start()
            delays = [delay for delay in _delays(consumer, sent, sender) if delay is not None]
            consumer.close()
    cuts = statistics.quantiles(delays, n=1000)
    return {"delay_events": len(delays)} | {
        f"delay_ms_p{name}": round(cuts[place] * 1000, 1) for name, place in (("50", 499), ("99", 989), ("99_9", 998))
    }


def _delay_pages() -> list[tuple[PageId, str, bytes]]:
    """Return the keys, times of observation and values of the pages to be sent; encoding them takes a core."""
    pages = []
    for number in range(DELAY_PAGES):
        observed_at = from_milliseconds(T0 + DELAY_PAGES + number)
        page = page_of(number % PAGES_OF_TASKS, number // PAGES_OF_TASKS + 1)
        pages.append((page.page_id, format_instant(observed_at), encode(replace(page, observed_at=observed_at))))
    return pages


def _send_evenly(
    bootstrap: str, prefix: str, pages: Sequence[tuple[PageId, str, bytes]], sent: dict[str, float]
) -> None:
    """Send a page every ten milliseconds, each observed at a time of its own, under which its sending is noted."""
    producer = make_producer(KafkaSettings(bootstrap_servers=bootstrap))
    for page_id, _, value in pages[:PARTITIONS]:  # to be connected
        producer.produce(prefix + JOBS_POLLED.name, key=page_id, value=value)
    assert producer.flush(20) == 0
    time.sleep(1)
    began = time.monotonic()
    for number, (page_id, observed_at, value) in enumerate(pages):
        while (early := began + number / 100 - time.monotonic()) > 0:
            producer.poll(min(early, 0.005))
        sent[observed_at] = time.monotonic()
        producer.produce(prefix + JOBS_POLLED.name, key=page_id, value=value)
    assert producer.flush(20) == 0


def _delays(consumer: Consumer, sent: dict[str, float], sender: Thread) -> Iterator[float | None]:
    """Yield the delay of each event until a second after the last page."""
    ended = 0.0
    while not ended or time.monotonic() < ended + 1:
        messages, now = consumer.consume(500, 0.001), time.monotonic()
        for message in messages:
            began = sent.get((dict(headers_of(message))["ce_time"] or b"").decode())
            yield now - began if began else None
        if not ended and not sender.is_alive():
            ended = now


if __name__ == "__main__":
    main()
