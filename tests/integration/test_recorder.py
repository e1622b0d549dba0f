"""The recorder on a real Kafka, with the simulated cloud and with one that is late: what it publishes and commits."""

import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from devtools.cloud.process import CloudSimulator
from devtools.processes import wait_until
from producers import recorder
from producers.cloud.payloads import Contact, GroupOptions
from producers.recorder import GROUP, Recorder, Recordings, Unrecorded
from runtime.clock import SystemClock
from runtime.dead_letters import DeadLetterOffice
from runtime.errors import RejectedError, RetryableError
from runtime.kafka import Outgoing, Publisher, make_consumer, outgoing
from runtime.service import Service
from schemas.ids import CallJobId, CallTaskId, EventId, ReferenceId, TaskId
from schemas.jobs import StatusChanged
from schemas.topics import JOB_RECORDED, STATUS_CHANGED
from tests.fixtures.shells import client_of, lag, running, settings_of
from tests.fixtures.topics import read_events, read_messages, wait_for_events

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)


@dataclass
class LateCloud:
    """Recordings that appear after some tries; remembers what was asked for."""

    errors: dict[str, list[Exception]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    is_away: bool = False

    def download_recording(self, call_task_id: CallTaskId) -> str:
        """Raise what is left of the call's errors, then answer."""
        self.asked.append(call_task_id)
        if self.is_away:
            raise RetryableError("away")
        if self.errors.get(call_task_id):
            raise self.errors[call_task_id].pop(0)
        return f"https://oss/{call_task_id}.wav?Expires=1763884800&Signature=x"


@dataclass
class Audit:
    """Names what is given, once."""

    missing: list[tuple[CallJobId, CallTaskId]] = field(default_factory=list)

    def take(self) -> list[tuple[CallJobId, CallTaskId]]:
        """Everything, and nothing the next time."""
        found, self.missing = self.missing, []
        return found


@dataclass
class Bench:
    """A broker and a recorder in a thread."""

    topics: str
    publisher: Publisher

    def send(self, *events: StatusChanged) -> None:
        """Publish status events."""
        self.publisher.publish(outgoing(STATUS_CHANGED, event, source="test") for event in events)

    def wait_for_commit(self) -> None:
        """Wait until the group has committed every record."""
        wait_until(lambda: self.lag() == 0, seconds=30, what="commits")

    def lag(self) -> int:
        """How many records are not committed."""
        return lag(self.topics, GROUP, STATUS_CHANGED.name)

    @contextmanager
    def recorder(self, cloud: Recordings, unrecorded: Unrecorded | None = None) -> Iterator[None]:
        """A recorder that runs in a thread."""

        def make(service: Service) -> Callable[[], None]:
            return Recorder(
                consumer=make_consumer(settings_of(self.topics), GROUP),
                cloud=cloud,
                unrecorded=unrecorded or Audit(),
                publisher=self.publisher,
                office=DeadLetterOffice(self.publisher, GROUP),
                service=service,
                clock=SystemClock(),
            ).run

        with running("record", make):
            yield


@pytest.fixture
def bench(topics: str, publisher: Publisher) -> Bench:
    """Clean topics and a producer."""
    return Bench(topics, publisher)


def status(number: int, call: str | None = None, call_status: str = "Succeeded") -> StatusChanged:
    """A call that has ended."""
    return StatusChanged(
        event_id=EventId(f"event-{number}"),
        task_id=TaskId("task-1"),
        reference_id=ReferenceId(f"ref-{number}"),
        call_job_id=CallJobId(f"job-{number}"),
        version=number,
        observed_at=NOW,
        call_status=call_status,
        call_conversation=(),
        changed=("call_status",),
        is_terminal=True,
        call_task_id=CallTaskId(call or f"call-{number}"),
    )


def test_an_answered_calls_recording_can_be_fetched(bench: Bench, cloud: CloudSimulator) -> None:
    """The URL that is published works at the simulated cloud, and says until when."""
    client = client_of(cloud)
    group = client.create_job_group("task", GroupOptions())
    client.assign_jobs(
        group,
        [Contact(reference_id=ReferenceId(f"r{number}"), name="n", phone_number="13800000000") for number in range(8)],
    )
    cloud.finish()
    call = next(job["call_task_id"] for job in cloud.wait_final() if job["status"] == "Succeeded")
    bench.send(status(1, call))
    with bench.recorder(client):
        (event,) = wait_for_events(bench.topics, JOB_RECORDED, lambda events: len(events) == 1)
        bench.wait_for_commit()
    assert (event.call_job_id, event.call_task_id) == ("job-1", call)
    assert event.expires_at is not None
    assert event.expires_at > event.recorded_at
    with urllib.request.urlopen(event.recording_url, timeout=10) as recording:  # noqa: S310 - the simulator's own URL
        assert recording.read(4) == b"RIFF"


def test_a_late_recording_holds_up_no_other_but_its_offset(bench: Bench) -> None:
    """The others are published meanwhile; nothing is committed past the one that is still in hand."""
    cloud = LateCloud({"call-1": [RejectedError("none yet"), RetryableError("busy"), RejectedError("none yet")]})
    events = [status(number) for number in range(1, 6)]
    for event in events:
        event_bytes = outgoing(STATUS_CHANGED, event, source="test")
        bench.publisher.publish([Outgoing(event_bytes.topic, b"same partition", event_bytes.value)])
    with bench.recorder(cloud):
        wait_for_events(bench.topics, JOB_RECORDED, lambda found: len(found) == 4)
        assert bench.lag() == 5
        bench.wait_for_commit()
    found = {event.call_job_id: event for event in read_events(bench.topics, JOB_RECORDED)}
    assert len(found) == 5
    assert found[CallJobId("job-1")].expires_at == datetime(2025, 11, 23, 8, 0, tzinfo=UTC)
    assert cloud.asked.count("call-1") == 4


def test_what_has_no_recording_is_passed_over(bench: Bench) -> None:
    """Failed calls are committed without a question; what cannot be decoded is a dead letter."""
    cloud = LateCloud()
    bench.send(status(1, call_status="Failed"), status(2, call_status="Cancelled"))
    bench.publisher.publish([Outgoing(STATUS_CHANGED.name, b"job", b"{}")])
    with bench.recorder(cloud):
        bench.wait_for_commit()
    assert cloud.asked == []
    (letter,) = read_messages(bench.topics, STATUS_CHANGED.dead_letters)
    assert letter.value() == b"{}"


def test_patience_has_an_end(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recording that is refused for too long holds nothing up: its offset moves on, the audit will ask again."""
    monkeypatch.setattr(recorder, "PATIENCE_SECONDS", 0.5)
    cloud = LateCloud({"call-1": [RejectedError("none") for _ in range(9)]})
    bench.send(status(1))
    with bench.recorder(cloud):
        bench.wait_for_commit()
    assert 2 <= len(cloud.asked) <= 9
    assert read_messages(bench.topics, STATUS_CHANGED.dead_letters) == []
    assert read_events(bench.topics, JOB_RECORDED) == []


def test_what_the_audit_names_is_asked_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once per round where the cloud has none, until it works where the cloud is away."""
    monkeypatch.setattr(recorder, "AUDIT_SECONDS", 0.2)
    named = [(CallJobId(f"job-{number}"), CallTaskId(f"call-{number}")) for number in (1, 2)]
    cloud = LateCloud({"call-1": [RejectedError("none")], "call-2": [RetryableError("busy")]})
    with bench.recorder(cloud, Audit(named)):
        (event,) = wait_for_events(bench.topics, JOB_RECORDED, lambda events: len(events) == 1)
    assert (event.call_job_id, cloud.asked.count("call-1"), cloud.asked.count("call-2")) == ("job-2", 1, 2)


def test_a_backlog_in_an_outage_is_bounded_and_kept(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the cloud is away nothing is committed and no more is taken than the window holds; then all of it works."""
    monkeypatch.setattr(recorder, "WINDOW", 20)
    cloud = LateCloud(is_away=True)
    bench.send(*(status(number) for number in range(100)))
    with bench.recorder(cloud):
        wait_until(lambda: len(set(cloud.asked)) == 20, seconds=20, what="a full window")
        time.sleep(0.5)
        assert (len(set(cloud.asked)), bench.lag()) == (20, 100)
        cloud.is_away = False
        bench.wait_for_commit()
    assert len({event.call_job_id for event in read_events(bench.topics, JOB_RECORDED)}) == 100
