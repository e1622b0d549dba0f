"""A worker in the long run: it lets go of what nobody asks for, says when it is stuck, shares and inherits."""

import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition
from msgspec.structs import replace

from devtools.processes import stop, wait_until
from runtime.clock import SystemClock
from schemas.codec import decode, encode
from schemas.jobs import JobsPolled, StatusChanged
from schemas.topics import JOBS_POLLED, STATUS_CHANGED
from streams.changelogs import PAGES
from streams.changes import decode_row
from tests.fixtures.streams import PARTITIONS, WORKER, Streams, page
from tests.integration.test_streams_kills import Load, await_progress, behind, judge

DAY_MS = 86_400_000
SWEEPING = """
import sys
from runtime.logs import configure_logs
from runtime.settings import Settings
from streams.worker import run_changes
configure_logs(form="json", level="INFO", role="changes")
run_changes(Settings.load(), topic_prefix=sys.argv[2], sweep_seconds=1.0)
"""
STUCK = """
import asyncio
from streams import detection, progress
progress.PATIENCE_SECONDS = 3.0
settle = detection.Detector.settle
async def settle_or_hang(self, effects):
    if any(write.key == b"page-13" for write in effects.writes):
        await asyncio.Event().wait()
    await settle(self, effects)
detection.Detector.settle = settle_or_hang
"""


def send(streams: Streams, *pages: JobsPolled) -> None:
    """Publish pages and wait until they are acknowledged by the worker."""
    producer = streams.producer()
    for each in pages:
        producer.produce(streams.prefix + JOBS_POLLED.name, key=each.page_id, value=encode(each))
    assert producer.flush(20) == 0


def settle(streams: Streams) -> None:
    """Wait until every page is acknowledged by the worker."""
    wait_until(lambda: not behind(streams), seconds=40, what="all pages acknowledged")


def changelog(streams: Streams) -> dict[bytes, list[bytes | None]]:
    """What was written of each row, in order."""
    written: dict[bytes, list[bytes | None]] = {}
    for record in streams.read(PAGES.name):
        key, value = record.key(), record.value()
        assert isinstance(key, bytes)
        assert value is None or isinstance(value, bytes)
        written.setdefault(key, []).append(value)
    return written


def test_what_nobody_observes_any_more_leaves_the_table_for_good(streams: Streams) -> None:
    """Tombstones for whole pages, shorter rows for parts; a restart finds neither; who comes back converges."""
    now = SystemClock().now_ms()
    long_ago, days_ago = now - 30 * DAY_MS, now - 5 * DAY_MS
    streams.code = SWEEPING
    worker = streams.start("changes")
    send(
        streams,
        page(1, long_ago, {0: "Succeeded", 1: "Executing"}),
        page(2, now, {0: "Executing"}),
        page(3, days_ago, {0: "Succeeded", 1: "Executing"}),
    )
    wait_until(lambda: changelog(streams).get(b"page-1", [b""])[-1] is None, seconds=40, what="the tombstone")
    wait_until(lambda: len(changelog(streams).get(b"page-3", [])) == 2, seconds=20, what="the shorter row")
    written = changelog(streams)
    assert list(decode_row(written[b"page-3"][-1])) == ["job-3-1"]
    assert len(written[b"page-2"]) == 1
    settle(streams)
    worker.kill()
    worker.wait()

    streams.code = WORKER
    before = streams.count(STATUS_CHANGED.name)
    worker = streams.start("changes")
    returned = page(1, now, {1: "Executing"})
    [job] = returned.jobs
    held = replace(job, stored_version=now + 7, stored_status="Executing")
    send(streams, replace(returned, jobs=(held,)), page(2, now + 1, {0: "Executing"}))
    settle(streams)
    stop(worker)
    events = [decode(record.value(), StatusChanged) for record in streams.read(STATUS_CHANGED.name)]
    assert len(events) == before + 1, "page 2 is known, the job of page 1 is not"
    assert [event.version for event in events if event.call_job_id == "job-1-1"] == [long_ago, now + 8]


def test_a_worker_that_is_stuck_says_so(streams: Streams) -> None:
    """It is alive and in its group, but its committed offsets stand while its topic grows: not ready."""
    streams.code = STUCK + WORKER
    worker = streams.start("changes")
    now = SystemClock().now_ms()
    send(streams, page(1, now, {0: "Executing"}))
    settle(streams)
    wait_until(streams.is_ready, seconds=20, what="ready")
    send(streams, page(13, now, {0: "Executing"}))
    wait_until(lambda: not streams.is_ready(), seconds=20, what="not ready")
    assert worker.poll() is None


@dataclass
class Watch:
    """For how long at most a partition of the output stood still; the load must reach every partition all the time."""

    streams: Streams
    worst: float = 0.0
    _ends: list[int] = field(default_factory=lambda: [0] * PARTITIONS)
    _moved_at: list[float] = field(default_factory=lambda: [time.monotonic()] * PARTITIONS)

    def run(self, stopping: threading.Event) -> None:
        """Look every 50 ms until told to stop."""
        observer = Consumer({"bootstrap.servers": self.streams.bootstrap, "group.id": "watch", "log_level": 2})
        places = [TopicPartition(self.streams.prefix + STATUS_CHANGED.name, number) for number in range(PARTITIONS)]
        while not stopping.wait(0.05):
            try:
                ends = [observer.get_watermark_offsets(place, timeout=5)[1] for place in places]
            except KafkaException:
                continue
            now = time.monotonic()
            self.worst = max(self.worst, now - min(self._moved_at))
            for number in (number for number in range(PARTITIONS) if ends[number] > self._ends[number]):
                self._ends[number], self._moved_at[number] = ends[number], now
        observer.close()

    def during(self, what: Callable[[], None]) -> float:
        """Return the longest standstill, in seconds, from now until some seconds after `what`."""
        self.worst = 0.0
        what()
        time.sleep(3)
        return round(self.worst, 2)


def scale_up_and_down(streams: Streams, *, rounds: int, record: Callable[[str, object], None]) -> None:
    """Go from one worker to three and back, by a leave and a kill, under load; nothing is lost."""
    load, watch, stopping = Load(streams, pages=80), Watch(streams), threading.Event()
    threads = [threading.Thread(target=part.run, args=(stopping,)) for part in (load, watch)]
    for thread in threads:
        thread.start()
    pauses: dict[str, list[float]] = {"join": [], "leave": [], "kill": []}

    def ready(*names: str) -> None:
        wait_until(lambda: all(map(streams.is_ready, names)), seconds=60, what=f"{names} ready", interval=0.1)
        await_progress(streams)

    def join(name: str) -> subprocess.Popen[bytes]:
        worker = streams.start("changes", name)
        ready(name)
        return worker

    def leave(worker: subprocess.Popen[bytes]) -> None:
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(20) == 0

    def die(worker: subprocess.Popen[bytes]) -> None:
        worker.kill()
        worker.wait()
        time.sleep(12)  # its session

    try:
        workers = [join("one")]
        for _ in range(rounds):
            for name in ("two", "three"):
                pauses["join"].append(watch.during(lambda name=name: workers.append(join(name))))  # type: ignore[misc]
            ready("one", "two", "three")
            pauses["leave"].append(watch.during(lambda: leave(workers[1])))
            pauses["kill"].append(watch.during(lambda: die(workers[2])))
            ready("one")
            del workers[1:]
    finally:
        stopping.set()
        for thread in threads:
            thread.join()
    settle(streams)
    stop(workers[0])
    verdict = judge(streams, rounds, behind(streams))
    for name, seconds in pauses.items():
        record(f"standstill_{name}", seconds)
    record("verdict", str(verdict))
    assert verdict.is_right, verdict


@pytest.mark.timeout(240)
def test_one_worker_becomes_three_and_one_again_under_load(
    streams: Streams, record_property: Callable[[str, object], None]
) -> None:
    """Joins, a leave and a kill move partitions and tables; every change comes out once or more, in order."""
    scale_up_and_down(streams, rounds=1, record=record_property)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_workers_come_and_go_ten_times(streams: Streams, record_property: Callable[[str, object], None]) -> None:
    """The same ten times over."""
    scale_up_and_down(streams, rounds=10, record=record_property)
