"""How long a worker takes until it is ready with a full table, what the table costs in memory and in its changelog.

Usage: python -m benchmarks.recovery [--jobs N...]

The worker itself fills the changelog, from pages of jobs of which all, a fifth and a hundredth change in turn; the
topic has the settings of `callstream topics create`, and the broker compacts it before the recovery is measured. Memory
per job is what a worker has more than one that is ready with an empty table.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from urllib.error import URLError
from urllib.request import urlopen

import psutil
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks.change_detection import PAGE_JOBS, PARTITIONS, T0, WORKER, job_of
from benchmarks.measuring import ROOT, ends, record
from devtools.apache_kafka import ApacheKafka
from devtools.processes import free_port, spawn, stop, wait_until
from runtime.kafka import Outgoing, Publisher, as_bytes
from runtime.settings import KafkaSettings
from schemas.codec import encode
from schemas.ids import PageId
from schemas.instants import from_milliseconds
from schemas.jobs import JobsPolled
from schemas.topics import JOBS_POLLED, STATUS_CHANGED
from streams.changelogs import CHANGES_APP, PAGES

SHARES = (100, 20, 1)
RECOVERIES = 3
PATIENCE = 300.0
CLEANING = {"log.cleaner.backoff.ms": "1000"}  # the broker looks for what to compact every second, not every fifteen


@dataclass
class Table:
    """One worker's topics, of so many jobs, and the folder where the broker keeps them."""

    bootstrap: str
    data: Path
    jobs: int
    turn: int = 0
    states: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Begin with nothing observed."""
        self.prefix = f"jobs{self.jobs}-"
        self.port = free_port()
        self.states = [0] * self.pages

    @property
    def pages(self) -> int:
        """How many pages hold the jobs."""
        return -(-self.jobs // PAGE_JOBS)

    def create(self) -> None:
        """Make the topics."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        names = (JOBS_POLLED.name, JOBS_POLLED.dead_letters, STATUS_CHANGED.name)
        made = [NewTopic(self.prefix + name, PARTITIONS, 1) for name in names]
        made.append(NewTopic(self.prefix + PAGES.name, PARTITIONS, 1, config=dict(PAGES.config)))
        for created in admin.create_topics(made).values():
            created.result(30)

    def observe(self, every: int) -> int:
        """Observe all jobs once more, every n-th of them changed; return how many were, all when seen first."""
        publisher = Publisher(KafkaSettings(bootstrap_servers=self.bootstrap))
        publisher.publish(self._records(every))
        publisher.close()
        self.turn += 1
        return self.pages * len(range(0, PAGE_JOBS, every))

    def _records(self, every: int) -> Iterator[Outgoing]:
        for page in range(self.pages):
            self.states[page] += 1
            jobs = tuple(
                job_of(page, number, self.states[page] if number % every == 0 else 0) for number in range(PAGE_JOBS)
            )
            observed = JobsPolled(
                page_id=PageId(f"page-{page}"), observed_at=from_milliseconds(T0 + self.turn * 5_000), jobs=jobs
            )
            yield Outgoing(self.prefix + JOBS_POLLED.name, observed.page_id.encode(), encode(observed))

    def written_since(self, offsets: Sequence[int]) -> int:
        """Return the bytes, keys and values, of the changelog's records from these offsets on.

        Each page is written once in a pass, so compaction cannot have removed a record of the last one.
        """
        topic = self.prefix + PAGES.name
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "reader", "enable.auto.commit": False})
        size = 0
        for partition, (first, end) in enumerate(zip(offsets, ends(self.bootstrap, topic), strict=True)):
            consumer.assign([TopicPartition(topic, partition, first)])
            position = first
            while position < end:
                for message in consumer.consume(min(100, end - position), 10):
                    assert message.error() is None
                    size += len(as_bytes(message.key()) or b"") + len(as_bytes(message.value()) or b"")
                    position = (message.offset() or 0) + 1
        consumer.close()
        return size

    def changelog_bytes(self) -> int:
        """Return what the changelog takes on the broker's disk."""
        logs = self.data.glob(f"{self.prefix}{PAGES.name}-*/*.log")
        return sum(log.stat().st_size for log in logs)

    @contextmanager
    def worker(self) -> Iterator[Popen[bytes]]:
        """Run a worker."""
        env = os.environ | {
            "CALLSTREAM_KAFKA_BOOTSTRAP_SERVERS": self.bootstrap,
            "CALLSTREAM_HTTP_PORT": str(self.port),
            "CALLSTREAM_REASSERT_SECONDS": "86400",
        }
        with tempfile.NamedTemporaryFile() as log:
            process = spawn([sys.executable, "-c", WORKER, self.prefix], stdout=log.file.fileno(), cwd=ROOT, env=env)
            try:
                yield process
            finally:
                stop(process)

    def is_ready(self) -> bool:
        """Return whether the worker says so."""
        try:
            with urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False

    def is_observed(self) -> bool:
        """Return whether every page is acknowledged."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": self.prefix + CHANGES_APP})
        places = [TopicPartition(self.prefix + JOBS_POLLED.name, partition) for partition in range(PARTITIONS)]
        done = sum(max(0, place.offset) for place in consumer.committed(places, timeout=10))
        consumer.close()
        return done == sum(ends(self.bootstrap, self.prefix + JOBS_POLLED.name))


def main() -> None:
    """Measure each size and keep the results."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, nargs="+", default=[100_000, 1_000_000])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        with ApacheKafka(Path(folder), extra=CLEANING, heap_mb=1024) as kafka:
            empty = Table(kafka.bootstrap_servers, Path(folder) / "data", 0)
            empty.create()
            base = recoveries(empty)
            tables = [
                measure(Table(kafka.bootstrap_servers, Path(folder) / "data", jobs), base) for jobs in arguments.jobs
            ]
        record("recovery", {"empty": base, "config": dict(PAGES.config), "tables": tables})


def measure(table: Table, base: dict[str, float]) -> dict[str, object]:
    """Fill a table, let the broker compact its changelog, and recover from it."""
    table.create()
    per_change = fill(table)
    written = table.changelog_bytes()
    await_compaction(table)
    compacted = table.changelog_bytes()
    result = recoveries(table)
    jobs = table.pages * PAGE_JOBS
    more = {
        "jobs": jobs,
        "changelog_bytes_per_change": per_change,
        "changelog_mb_written": round(written / 1e6, 1),
        "changelog_mb_compacted": round(compacted / 1e6, 1),
        "row_bytes_per_job": per_change["first"],
        "memory_bytes_per_job": round((result["rss_mb"] - base["rss_mb"]) * 2**20 / jobs),
        "seconds_per_million": round(result["ready_seconds"] / jobs * 1e6, 2),
    }
    print(more | result)
    return more | result


def fill(table: Table) -> dict[str, float]:
    """Let a worker observe all jobs, first as new ones; return the changelog's bytes per change of each pass."""
    per_change: dict[str, float] = {}
    with table.worker() as worker:
        wait_until(table.is_ready, seconds=60, what="ready", interval=0.05)
        for share in (100, *SHARES):
            before = ends(table.bootstrap, table.prefix + PAGES.name)
            changes = table.observe(100 // share)
            wait_until(table.is_observed, seconds=PATIENCE, what="observed", interval=0.5)
            assert worker.poll() is None
            name = f"{share}%" if per_change else "first"
            per_change[name] = round(table.written_since(before) / changes, 1)
    assert sum(ends(table.bootstrap, table.prefix + JOBS_POLLED.dead_letters)) == 0
    return per_change


def await_compaction(table: Table) -> None:
    """Return when the changelog has not become smaller for ten seconds."""
    size, since = table.changelog_bytes(), time.monotonic()
    while time.monotonic() - since < 10:
        time.sleep(1)
        if table.changelog_bytes() != size:
            size, since = table.changelog_bytes(), time.monotonic()


def recoveries(table: Table) -> dict[str, float]:
    """Start a worker several times; return the medians of seconds from its start to ready, and of its memory then."""
    seconds, memory, peak, cpu = [], [], [], []
    for _ in range(RECOVERIES):
        begin = time.monotonic()
        with table.worker() as worker:
            wait_until(table.is_ready, seconds=PATIENCE, what="ready", interval=0.02)
            seconds.append(time.monotonic() - begin)
            process = psutil.Process(worker.pid)
            times = process.cpu_times()
            cpu.append(times.user + times.system)
            memory.append(process.memory_info().rss / 2**20)
            peak.append(_peak_mb(worker.pid))
    return {
        "ready_seconds": round(statistics.median(seconds), 2),
        "cpu_seconds": round(statistics.median(cpu), 2),
        "rss_mb": round(statistics.median(memory), 1),
        "peak_mb": round(statistics.median(peak), 1),
    }


def _peak_mb(pid: int) -> float:
    """Return the most memory that a process ever had resident."""
    status = Path(f"/proc/{pid}/status").read_text()
    return float(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) / 1024


if __name__ == "__main__":
    main()
