"""How many observations a second one change-detection process takes, and what each costs.

Usage: python -m benchmarks.change_detection [--bootstrap HOST:PORT] [--observations N]

Pages of 99 jobs of about 500 bytes are put into Kafka beforehand, a fifth of the jobs changing from pass to pass; then
the worker is started and watched until it has acknowledged them all. Without a broker named, one is started.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import psutil
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks.measuring import ROOT, broker, cpu_seconds, ends, record
from devtools.processes import spawn, stop
from schemas.codec import encode
from schemas.ids import CallJobId, CallTaskId, PageId, ReferenceId, TaskId, reference_id_for
from schemas.instants import from_milliseconds
from schemas.jobs import JobSnapshot, JobsPolled, Turn
from schemas.topics import JOBS_POLLED, STATUS_CHANGED
from streams.tables import CHANGES_APP, PAGES

PARTITIONS, PAGE_JOBS, PAGES_OF_TASKS, CHANGED = 4, 99, 200, 5
T0 = 1_790_000_000_000
WORKER = """
import sys
from runtime.logs import configure_logs
from runtime.settings import Settings
from streams.worker import run_changes
configure_logs(form="json", level="WARNING", role="changes")
run_changes(Settings.load(), topic_prefix=sys.argv[1])
"""


def main() -> None:
    """Measure once and keep the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bootstrap")
    parser.add_argument("--observations", type=int, default=200_000)
    arguments = parser.parse_args()
    with broker(arguments.bootstrap) as bootstrap:
        result = measure(bootstrap, arguments.observations)
    record("change_detection", result)


def measure(bootstrap: str, observations: int) -> dict[str, object]:
    """Load the pages, run the worker, and return what it took."""
    prefix = f"bench-{os.getpid()}-"
    names = [prefix + name for name in (JOBS_POLLED.name, JOBS_POLLED.dead_letters, STATUS_CHANGED.name, PAGES.name)]
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for created in admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in names]).values():
        created.result(30)
    pages, size = load(bootstrap, prefix, observations)
    seconds, cpu, memory = watch(bootstrap, prefix, pages)
    events = sum(ends(bootstrap, prefix + STATUS_CHANGED.name))
    admin.delete_topics(names)
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


def watch(bootstrap: str, prefix: str, pages: int) -> tuple[float, float, int]:
    """Run the worker over all pages; return seconds and CPU from the first event to the last acknowledgement."""
    env = {**os.environ, "CALLSTREAM_KAFKA_BOOTSTRAP_SERVERS": bootstrap, "CALLSTREAM_HTTP_PORT": "18099"}
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "worker.log").open("wb") as log:
        worker = spawn([sys.executable, "-c", WORKER, prefix], stdout=log, cwd=ROOT, env=env)
        try:
            process = psutil.Process(worker.pid)
            while not sum(ends(bootstrap, prefix + STATUS_CHANGED.name)):
                assert worker.poll() is None, Path(log.name).read_text()
                time.sleep(0.02)
            started, before = time.monotonic(), cpu_seconds(process)
            consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": prefix + CHANGES_APP})
            places = [TopicPartition(prefix + JOBS_POLLED.name, partition) for partition in range(PARTITIONS)]
            while sum(max(0, place.offset) for place in consumer.committed(places, timeout=10)) < pages:
                assert worker.poll() is None, Path(log.name).read_text()
                time.sleep(0.05)
            seconds, after = time.monotonic() - started, cpu_seconds(process)
            consumer.close()
            return seconds, after - before, process.memory_info().rss
        finally:
            stop(worker)


if __name__ == "__main__":
    main()
