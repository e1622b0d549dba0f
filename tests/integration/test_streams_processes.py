"""The stream roles as processes on a real Kafka: what goes in comes out, whatever happens to the process."""

import random
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from os import environ
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from devtools.processes import free_port, spawn, stop, wait_until
from schemas.codec import decode, encode
from schemas.followups import FollowedUp, JobAnalysisRequested
from schemas.ids import CallJobId, EventId, PageId, ReferenceId, TaskId
from schemas.instants import from_milliseconds, to_milliseconds
from schemas.jobs import JobSnapshot, JobsPolled, StatusChanged, Turn
from schemas.topics import (
    ALL,
    DEAD_LETTER_CONFIG,
    FOLLOWED_UP,
    JOB_ANALYSIS_REQUESTED,
    JOBS_POLLED,
    STATUS_CHANGED,
    AnyTopic,
)
from streams.tables import CHANGELOGS, CHANGES_APP

PARTITIONS = 4
T0 = 1_790_000_000_000
WORKER = """
import sys
from runtime.logs import configure_logs
from runtime.settings import Settings
from streams.worker import run_changes, run_followups
role, prefix, is_safe = sys.argv[1:]
configure_logs(form="json", level="INFO", role=role)
run = {"changes": run_changes, "followups": run_followups}[role]
run(Settings.load(), topic_prefix=prefix, is_recovery_safe=is_safe == "True")
"""


@dataclass
class Streams:
    """Topics of one test on a broker, and worker processes on them."""

    bootstrap: str
    prefix: str
    folder: Path
    is_recovery_safe: bool = True
    settings: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, role: str) -> subprocess.Popen[bytes]:
        """Start a worker; its log is in the test's folder."""
        command = [sys.executable, "-c", WORKER, role, self.prefix, str(self.is_recovery_safe)]
        env = {
            **environ,
            "CALLSTREAM_KAFKA_BOOTSTRAP_SERVERS": self.bootstrap,
            "CALLSTREAM_HTTP_PORT": str(self.port),
            "CALLSTREAM_INSTANCE_ID": "one",
            "CALLSTREAM_REASSERT_SECONDS": "86400",
            **self.settings,
        }
        with (self.folder / f"{role}-{len(self.workers)}.log").open("wb") as log:
            self.workers.append(spawn(command, stdout=log, cwd=self.folder, env=env))
        return self.workers[-1]

    def is_ready(self) -> bool:
        """Return whether the worker says so."""
        try:
            with urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False

    def producer(self) -> Producer:
        """Return a producer as the poller has one."""
        return Producer({"bootstrap.servers": self.bootstrap, "partitioner": "murmur2_random", "linger.ms": 5})

    def read(self, topic: str) -> list[Message]:
        """Return all records of a topic of this test, partition by partition."""
        consumer = Consumer(
            {"bootstrap.servers": self.bootstrap, "group.id": "reader", "enable.auto.commit": False, "log_level": 2}
        )
        records = []
        for partition in range(PARTITIONS):
            place = TopicPartition(self.prefix + topic, partition, 0)
            _, end = consumer.get_watermark_offsets(place, timeout=10)
            consumer.assign([place])
            read = 0
            while read < end:
                message = consumer.poll(5)
                assert message is not None
                assert message.error() is None
                records.append(message)
                read = (message.offset() or 0) + 1
        consumer.close()
        return records

    def count(self, topic: str) -> int:
        """Return how many records a topic has."""
        return self._sum(lambda consumer, place: consumer.get_watermark_offsets(place, timeout=10)[1], "reader", topic)

    def committed(self, group: str, topic: str) -> int:
        """Return how many records of a topic a group has acknowledged."""
        return self._sum(
            lambda consumer, place: max(0, consumer.committed([place], timeout=10)[0].offset),
            self.prefix + group,
            topic,
        )

    def _sum(self, ask: Callable[[Consumer, TopicPartition], int], group: str, topic: str) -> int:
        """Add up what is asked of each partition; a broker with new topics or a new coordinator is asked again."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": group, "log_level": 2})
        try:
            for _ in range(50):
                try:
                    return sum(
                        ask(consumer, TopicPartition(self.prefix + topic, partition)) for partition in range(PARTITIONS)
                    )
                except KafkaException:
                    time.sleep(0.2)
        finally:
            consumer.close()
        pytest.fail(f"the broker does not answer about {topic}")


@pytest.fixture
def streams(kafka: str, kafka_admin: AdminClient, topic_prefix: str, tmp_path: Path) -> Iterator[Streams]:
    """Every topic that the stream roles touch, for this test alone."""
    prefix = f"{topic_prefix}-"
    configs = {prefix + topic.name: dict(topic.config) for topic in ALL}
    configs |= {prefix + topic.dead_letters: dict(DEAD_LETTER_CONFIG) for topic in ALL}
    configs |= {prefix + changelog.name: dict(changelog.config) for changelog in CHANGELOGS}
    topics = [NewTopic(name, PARTITIONS, 1, config=config) for name, config in configs.items()]
    for created in kafka_admin.create_topics(topics).values():
        created.result(30)
    streams = Streams(kafka, prefix, tmp_path)
    yield streams
    for worker in streams.workers:
        stop(worker, grace=0)
    for deleted in kafka_admin.delete_topics(list(configs)).values():
        deleted.result(30)


def page(number: int, at: int, statuses: dict[int, str], **more: bool) -> JobsPolled:
    """A page with the statuses of its jobs, as the poller would send it."""
    return JobsPolled(
        page_id=PageId(f"page-{number}"),
        observed_at=from_milliseconds(at),
        jobs=tuple(
            JobSnapshot(
                task_id=TaskId("task"),
                reference_id=ReferenceId(f"ref-{number}-{job}"),
                call_job_id=CallJobId(f"job-{number}-{job}"),
                call_status=status,
                call_conversation=(Turn(speaker="Contact", script=f"{status}，好的"),),
                stored_version=0,
            )
            for job, status in statuses.items()
        ),
        **more,
    )


def statuses_of(records: list[Message]) -> list[StatusChanged]:
    """Decode status events."""
    return [decode(record.value(), StatusChanged) for record in records]


def send(streams: Streams, topic: AnyTopic, *records: tuple[str, bytes]) -> None:
    """Produce records and wait for their acknowledgement."""
    producer = streams.producer()
    for key, value in records:
        producer.produce(streams.prefix + topic.name, key=key, value=value)
    assert producer.flush(20) == 0


@dataclass
class Load:
    """Live observations: every page again and again, a fifth of the jobs changing each time."""

    streams: Streams
    pages: int = 40
    jobs: int = 10
    per_second: int = 150
    seed: int = 1
    sent: int = 0
    expected: dict[str, list[tuple[int, str]]] = field(default_factory=lambda: defaultdict(list))

    def run(self, stopping: threading.Event) -> None:
        """Send until told to stop; what changed is in `expected`, by job."""
        chance, producer = random.Random(self.seed), self.streams.producer()
        current: dict[tuple[int, int], str] = {}
        started = time.monotonic()
        while not stopping.is_set():
            if self.sent >= self.per_second * (time.monotonic() - started):
                producer.poll(0.005)
                continue
            number, at = self.sent % self.pages, T0 + self.sent // self.pages
            for job in range(self.jobs):
                held = current.get((number, job))
                if held is None or chance.random() < 0.2:
                    status = chance.choice([name for name in "ABCDEF" if name != held])
                    current[number, job] = status
                    self.expected[f"job-{number}-{job}"].append((at, status))
            value = encode(page(number, at, {job: current[number, job] for job in range(self.jobs)}))
            producer.produce(self.streams.prefix + JOBS_POLLED.name, key=f"page-{number}", value=value)
            self.sent += 1
        assert producer.flush(60) == 0


def verify(streams: Streams, load: Load) -> tuple[int, int]:
    """Assert that every change came out, in order, and the last state is right; return events and repeats."""
    got: dict[str, list[tuple[int, str]]] = defaultdict(list)
    records = statuses_of(streams.read(STATUS_CHANGED.name))
    for event in records:
        assert event.version == to_milliseconds(event.observed_at)
        got[event.call_job_id].append((event.version, event.call_status))
    lost = {job: set(changes) - set(got[job]) for job, changes in load.expected.items()}
    assert not [job for job, missing in lost.items() if missing]
    for job, changes in load.expected.items():
        assert list(dict.fromkeys(got[job])) == changes, "first occurrences are in order, nothing is invented"
        assert got[job][-1] == changes[-1]
    return len(records), len(records) - sum(map(len, load.expected.values()))


def kill_under_load(streams: Streams, signals: list[signal.Signals], load: Load) -> None:
    """End the worker by each signal while the load goes on, then let the last one catch up."""
    chance, stopping = random.Random(load.seed), threading.Event()
    thread = threading.Thread(target=load.run, args=(stopping,))
    thread.start()
    try:
        worker = streams.start("changes")
        for number in signals:
            await_progress(streams)
            time.sleep(chance.uniform(0.2, 1.2))
            worker.send_signal(number)
            status = worker.wait(20)
            assert status == (0 if number is signal.SIGTERM else -signal.SIGKILL)
            worker = streams.start("changes")
    finally:
        stopping.set()
        thread.join()
    total = streams.count(JOBS_POLLED.name)
    wait_until(
        lambda: streams.committed(CHANGES_APP, JOBS_POLLED.name) == total, seconds=60, what="all pages acknowledged"
    )
    stop(worker)


def await_progress(streams: Streams) -> None:
    """Return when the worker has emitted something more."""
    before = streams.count(STATUS_CHANGED.name)
    wait_until(lambda: streams.count(STATUS_CHANGED.name) > before, seconds=40, what="progress")


def test_changes_come_out_and_undecodable_pages_become_dead_letters(streams: Streams) -> None:
    """A change is emitted once, a repeat not at all, rubbish is kept byte for byte, and SIGTERM ends it with 0."""
    worker = streams.start("changes")
    send(
        streams,
        JOBS_POLLED,
        ("page-1", encode(page(1, T0, {0: "Scheduling", 1: "Executing"}))),
        ("page-1", b"rubbish"),
        ("page-1", encode(page(1, T0 + 1, {0: "Scheduling", 1: "Succeeded"}))),
        ("page-1", encode(page(1, T0 + 2, {0: "Scheduling", 1: "Succeeded"}))),
    )
    wait_until(lambda: streams.committed(CHANGES_APP, JOBS_POLLED.name) == 4, seconds=40, what="acknowledged")
    wait_until(streams.is_ready, seconds=10, what="ready")
    events = statuses_of(streams.read(STATUS_CHANGED.name))
    assert sorted((event.call_job_id, event.version - T0, event.call_status) for event in events) == [
        ("job-1-0", 0, "Scheduling"),
        ("job-1-1", 0, "Executing"),
        ("job-1-1", 1, "Succeeded"),
    ]
    [letter] = streams.read(JOBS_POLLED.dead_letters)
    assert letter.value() == b"rubbish"
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(20) == 0


def test_a_restart_continues_where_the_table_is(streams: Streams) -> None:
    """After kill -9 the next process knows the jobs from the changelog: unchanged pages emit nothing."""
    worker = streams.start("changes")
    send(streams, JOBS_POLLED, ("page-1", encode(page(1, T0, {0: "Executing"}))))
    wait_until(lambda: streams.count(STATUS_CHANGED.name) == 1, seconds=40, what="the event")
    worker.kill()
    worker.wait()
    worker = streams.start("changes")
    send(
        streams,
        JOBS_POLLED,
        ("page-1", encode(page(1, T0 + 1, {0: "Executing"}))),
        ("page-1", encode(page(1, T0 + 2, {0: "Failed"}))),
    )
    wait_until(lambda: streams.committed(CHANGES_APP, JOBS_POLLED.name) == 3, seconds=40, what="acknowledged")
    stop(worker)
    events = statuses_of(streams.read(STATUS_CHANGED.name))
    distinct = sorted({(event.version - T0, event.call_status, event.event_id) for event in events})
    assert [(version, status) for version, status, _ in distinct] == [(0, "Executing"), (2, "Failed")]


def test_ended_calls_are_followed_up_once_and_again_when_forced(streams: Streams) -> None:
    """A terminal status leads to one record, its repeat to none, a forced request to a newer version of the same."""
    conversation = (Turn(speaker="Robot", script="您好"), Turn(speaker="Contact", script="我很感兴趣，加我微信吧"))
    status = StatusChanged(
        event_id=EventId("s1"),
        task_id=TaskId("task"),
        reference_id=ReferenceId("ref"),
        call_job_id=CallJobId("job"),
        version=7,
        observed_at=from_milliseconds(T0),
        call_status="Succeeded",
        call_conversation=conversation,
        changed=("call_status",),
        is_terminal=True,
    )
    forced = JobAnalysisRequested(
        event_id=EventId("r1"),
        task_id=TaskId("task"),
        call_job_id=CallJobId("job"),
        call_status="Succeeded",
        call_conversation=conversation,
        status_version=7,
        follow_version=0,
        is_forced=True,
        requested_at=from_milliseconds(T0),
    )
    worker = streams.start("followups")
    send(streams, STATUS_CHANGED, ("job", encode(status)), ("job", encode(status)), ("job", b"{}"))
    wait_until(lambda: streams.count(FOLLOWED_UP.name) == 1, seconds=40, what="the record")
    send(streams, JOB_ANALYSIS_REQUESTED, ("job", encode(forced)))
    wait_until(lambda: streams.count(FOLLOWED_UP.name) == 2, seconds=40, what="the forced record")
    stop(worker)
    first, second = (decode(record.value(), FollowedUp) for record in streams.read(FOLLOWED_UP.name))
    assert (first.is_interested, first.is_forced, second.is_interested, second.is_forced) == (1, False, 1, True)
    assert first.leads_follow_id == second.leads_follow_id
    assert first.version < second.version
    assert streams.count(STATUS_CHANGED.dead_letters) == 1


@pytest.mark.timeout(300)
@pytest.mark.parametrize("order", ["kill", "mixed"])
def test_no_change_is_lost_when_the_process_is_ended_again_and_again(
    streams: Streams, order: str, record_property: Callable[[str, object], None]
) -> None:
    """SIGKILL and SIGTERM under live load: every change is in the output, in order per job, the last state right."""
    signals = [signal.SIGKILL] * 4 if order == "kill" else [signal.SIGTERM, signal.SIGKILL, signal.SIGTERM]
    load = Load(streams, seed=len(order))
    kill_under_load(streams, signals, load)
    emitted, repeated = verify(streams, load)
    record_property("emitted", emitted)
    record_property("repeated", repeated)
