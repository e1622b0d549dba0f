"""Our worker, naive Faust, quixstreams and a bare consumer on the same observations, in turn, in one run.

Usage: python -m benchmarks.detectors [--rounds N] [--observations N]

Every contender gets the same bytes in topics of its own, put there before it starts; naive Faust the same jobs as one
message each. Every effect has the broker's time: the rate is from the first event to the last one in the broker, so
that neither starts nor intervals of commits count. CPU is the process's from the first event to the last commit.
"""

import argparse
import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import orjson
import psutil
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks.change_detection import PAGE_JOBS, PAGES_OF_TASKS, PARTITIONS, WORKER, page_of
from benchmarks.measuring import ROOT, cpu_seconds, record
from devtools.apache_kafka import ApacheKafka
from devtools.processes import free_port, spawn, stop, wait_until
from runtime.clock import SystemClock
from runtime.kafka import Outgoing, Publisher, as_bytes
from runtime.settings import KafkaSettings
from schemas.codec import encode
from schemas.topics import JOBS_POLLED, STATUS_CHANGED
from streams.changelogs import CHANGES_APP, PAGES

OURS, NAIVE, QUIX, BARE = "callstream", "naive Faust", "quixstreams", "bare consumer"
PREFIX = "{prefix}"
NAIVE_WORKER = ("-m", "faust", "-A", "benchmarks.detectors.naive", "worker", "-l", "info", "--without-web")
PATIENCE = 300.0
Change = tuple[str, str]
"""A job and the state that it changed to: a state of the generated jobs has a `call_task_id` of its own."""


@dataclass(frozen=True)
class Contender:
    """A detector, how it is started and how it calls its group; `suffix` follows the topics' prefix."""

    name: str
    command: tuple[str, ...]
    suffix: str = "group"
    reads_pages: bool = True


@dataclass
class Watch:
    """The CPU of a process against the wall clock, sampled by a thread until told to stop."""

    process: psutil.Process
    samples: list[tuple[float, float]] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Sample fifty times a second."""
        clock = SystemClock()
        while not self.stopping.wait(0.02):
            self.samples.append((clock.now().timestamp(), cpu_seconds(self.process)))

    def since(self, instant: float) -> float:
        """Return the CPU that was used from an instant to the last sample."""
        before = [cpu for at, cpu in self.samples if at <= instant]
        return self.samples[-1][1] - (before[-1] if before else 0.0)


def main() -> None:
    """Measure every contender in every round and keep the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--observations", type=int, default=200_000)
    arguments = parser.parse_args()
    pages = list(pages_of(arguments.observations))
    expected = changes_in(pages)
    contenders = (
        Contender(OURS, (sys.executable, "-c", WORKER, PREFIX), suffix=CHANGES_APP),
        Contender(QUIX, (str(quix_python()), "-m", "benchmarks.detectors.quix")),
        Contender(BARE, (sys.executable, "-m", "benchmarks.detectors.bare")),
        Contender(NAIVE, (sys.executable, *NAIVE_WORKER), reads_pages=False),
    )
    rounds = []
    with ApacheKafka(extra={"log.message.timestamp.type": "LogAppendTime"}, heap_mb=1024) as kafka:
        for number in range(arguments.rounds):
            print(f"round {number + 1} of {arguments.rounds}")
            one = partial(measure, kafka.bootstrap_servers, f"round{number}-", pages, expected)
            rounds.append({contender.name: one(contender) for contender in contenders})
    record("detectors", summary(rounds, pages, expected))


def pages_of(observations: int) -> Iterator[Outgoing]:
    """Yield the pages; topics are without their prefix."""
    for number in range(-(-observations // PAGE_JOBS)):
        page = page_of(number % PAGES_OF_TASKS, number // PAGES_OF_TASKS)
        yield Outgoing(JOBS_POLLED.name, page.page_id.encode(), encode(page))


def exploded(pages: Sequence[Outgoing]) -> Iterator[Outgoing]:
    """Yield each job of the pages as a message of its own, keyed by job, with the page's time of observation."""
    for page in pages:
        document = orjson.loads(page.value or b"")
        for job in document["jobs"]:
            value = orjson.dumps(job | {"observed_at": document["observed_at"]})
            yield Outgoing(page.topic, job["call_job_id"].encode(), value)


def changes_in(pages: Sequence[Outgoing]) -> set[Change]:
    """Return every change that the pages show; no state of a job comes back."""
    return {
        (job["call_job_id"], job["call_task_id"]) for page in pages for job in orjson.loads(page.value or b"")["jobs"]
    }


def quix_python() -> Path:
    """Return the Python of the environment of quixstreams, made once per version of its requirements and of ours."""
    requirements = Path(__file__).parent / "quix-requirements.txt"
    name = f"quix-{hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:12]}"
    folder = Path(os.environ.get("CALLSTREAM_CACHE") or Path.home() / ".cache" / "callstream") / name
    python, done = folder / "bin" / "python", folder / "installed"
    if not done.exists():
        install = ("install", "-q", "--disable-pip-version-check", "--require-hashes", "-r", requirements)
        subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", folder], check=True)
        subprocess.run([sys.executable, "-m", "pip", "--python", python, *install], check=True)
        done.touch()
    return python


def measure(
    bootstrap: str, prefix: str, pages: Sequence[Outgoing], expected: set[Change], contender: Contender
) -> dict[str, object]:
    """Give a contender its input, let it work and judge what it did."""
    prefix += "".join(filter(str.isalnum, contender.name)) + "-"
    with topics(bootstrap, prefix):
        messages = pages if contender.reads_pages else list(exploded(pages))
        load(bootstrap, prefix, messages)
        memory, watch = work(contender, bootstrap, prefix, len(messages))
        events = read_events(bootstrap, prefix + STATUS_CHANGED.name)
    times = [at for at, _ in events]
    emitted = Counter(change for _, change in events)
    taken = len(pages) * PAGE_JOBS
    seconds = (max(times) - min(times)) / 1000
    result: dict[str, object] = {
        "observations_per_second": round(taken / seconds),
        "cpu_us_each": round(watch.since(min(times) / 1000) / taken * 1e6, 2),
        "rss_mb": round(memory / 2**20),
        "lost": len(expected - emitted.keys()),
        "invented": len(emitted.keys() - expected),
        "repeated": len(events) - len(emitted),
    }
    print(contender.name, result)
    return result


@contextmanager
def topics(bootstrap: str, prefix: str) -> Iterator[None]:
    """Make the topics of one measurement, and take all of its prefix away afterwards."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    names = [prefix + name for name in (JOBS_POLLED.name, JOBS_POLLED.dead_letters, STATUS_CHANGED.name)]
    made = [NewTopic(name, PARTITIONS, 1) for name in names]
    made.append(NewTopic(prefix + PAGES.name, PARTITIONS, 1, config=dict(PAGES.config)))
    for created in admin.create_topics(made).values():
        created.result(30)
    try:
        yield
    finally:
        there = [name for name in admin.list_topics(timeout=10).topics if prefix in name]
        for deleted in admin.delete_topics(there).values():
            deleted.result(30)


def load(bootstrap: str, prefix: str, messages: Sequence[Outgoing]) -> None:
    """Put the messages into Kafka."""
    publisher = Publisher(KafkaSettings(bootstrap_servers=bootstrap))
    publisher.publish(Outgoing(prefix + message.topic, message.key, message.value) for message in messages)
    publisher.close()


def work(contender: Contender, bootstrap: str, prefix: str, messages: int) -> tuple[int, Watch]:
    """Run a contender until it has committed everything; return its resident memory then, and its CPU."""
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("wb") as log:
        env = os.environ | {
            "CALLSTREAM_KAFKA_BOOTSTRAP_SERVERS": bootstrap,
            "CALLSTREAM_HTTP_PORT": str(free_port()),
            "BROKER": bootstrap,
            "PREFIX": prefix,
            "STATE": folder,
            "DATADIR": folder,
        }
        command = [prefix if part == PREFIX else part for part in contender.command]
        process = spawn(command, stdout=log, cwd=ROOT, env=env)
        watch = Watch(psutil.Process(process.pid))
        thread = threading.Thread(target=watch.run)
        thread.start()
        consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": prefix + contender.suffix, "log_level": 2})
        places = [TopicPartition(prefix + JOBS_POLLED.name, partition) for partition in range(PARTITIONS)]

        def is_done() -> bool:
            assert process.poll() is None, Path(log.name).read_text()[-4000:]
            return sum(max(0, place.offset) for place in consumer.committed(places, timeout=10)) >= messages

        try:
            wait_until(is_done, seconds=PATIENCE, what=contender.name, interval=0.05)
            time.sleep(0.1)  # for the last sample
            return watch.process.memory_info().rss, watch
        finally:
            watch.stopping.set()
            thread.join()
            consumer.close()
            stop(process)


def read_events(bootstrap: str, topic: str) -> list[tuple[int, Change]]:
    """Return all events with the broker's time in milliseconds."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "reader", "enable.auto.commit": False})
    found = []
    for partition in range(PARTITIONS):
        _, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
        consumer.assign([TopicPartition(topic, partition, 0)])
        position = 0
        while position < end:
            for message in consumer.consume(min(1000, end - position), 10):
                assert message.error() is None
                event = orjson.loads(as_bytes(message.value()) or b"")
                found.append((message.timestamp()[1], (event["call_job_id"], event["call_task_id"])))
                position = (message.offset() or 0) + 1
    consumer.close()
    return found


def summary(
    rounds: Sequence[Mapping[str, Mapping[str, object]]], pages: Sequence[Outgoing], expected: set[Change]
) -> dict[str, object]:
    """Return the medians of the rounds, and the median ratios of our rate to the others' in the same round."""

    def median(name: str, number: str) -> float:
        return statistics.median(float(str(each[name][number])) for each in rounds)

    def rate(each: Mapping[str, Mapping[str, object]], name: str) -> float:
        return float(str(each[name]["observations_per_second"]))

    taken = len(pages) * PAGE_JOBS
    return {
        "observations": taken,
        "bytes_each": round(sum(len(page.value or b"") for page in pages) / taken),
        "changes": len(expected),
        "rounds": rounds,
        "median": {
            name: {number: median(name, number) for number in ("observations_per_second", "cpu_us_each", "rss_mb")}
            for name in rounds[0]
        },
        "ours_to": {
            name: round(statistics.median(rate(each, OURS) / rate(each, name) for each in rounds), 2)
            for name in rounds[0]
            if name != OURS
        },
    }


if __name__ == "__main__":
    main()
