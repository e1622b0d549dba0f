"""The recorder on a real Kafka, with the simulated cloud and with one that is late: what it publishes and commits."""

import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from confluent_kafka import Consumer, TopicPartition
from pydantic import SecretStr

from devtools.cloud.process import CloudSimulator
from devtools.processes import wait_until
from producers import recorder
from producers.cloud.client import CloudClient
from producers.cloud.payloads import Contact, GroupOptions
from producers.recorder import GROUP, Recorder, Recordings
from runtime.clock import SystemClock
from runtime.dead_letters import DeadLetterOffice
from runtime.errors import RejectedError, RetryableError
from runtime.kafka import Outgoing, Publisher, make_consumer, outgoing
from runtime.service import Service
from runtime.settings import AnalysisSettings, CloudSettings, CoreSettings, KafkaSettings, Settings
from schemas.ids import CallJobId, CallTaskId, EventId, ReferenceId, TaskId
from schemas.jobs import StatusChanged
from schemas.topics import JOB_RECORDED, STATUS_CHANGED
from tests.fixtures.topics import read_events, read_messages, wait_for_events

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)


def lag(bootstrap: str, group: str, topic: str) -> int:
    """How many records of a topic the group has not committed."""
    client = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False})
    try:
        places = client.committed([TopicPartition(topic, partition) for partition in range(4)], timeout=10)
        bounds = [(place, client.get_watermark_offsets(place, timeout=10)) for place in places]
        return sum(end - max(low, place.offset) for place, (low, end) in bounds)
    finally:
        client.close()


@dataclass
class LateCloud:
    """Recordings that appear after some tries; remembers what was asked for."""

    errors: dict[str, list[Exception]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def download_recording(self, call_task_id: CallTaskId) -> str:
        """Raise what is left of the call's errors, then answer."""
        self.asked.append(call_task_id)
        if self.errors.get(call_task_id):
            raise self.errors[call_task_id].pop(0)
        return f"https://oss/{call_task_id}.wav?Expires=1763884800&Signature=x"


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
    def recorder(self, cloud: Recordings) -> Iterator[None]:
        """A recorder that runs in a thread."""
        service = Service(role="record", host="127.0.0.1", port=0, checks={})
        settings = Settings(
            kafka=KafkaSettings(bootstrap_servers=self.topics),
            cloud=CloudSettings(),
            analysis=AnalysisSettings(),
            core=CoreSettings(),
        )
        role = Recorder(
            consumer=make_consumer(settings, GROUP),
            cloud=cloud,
            publisher=self.publisher,
            office=DeadLetterOffice(self.publisher, GROUP),
            service=service,
            clock=SystemClock(),
        )
        thread = threading.Thread(target=role.run)
        with service:
            thread.start()
            try:
                yield
            finally:
                service.stopping.set()
                thread.join(15)
                assert not thread.is_alive()


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
    client = CloudClient(
        CloudSettings(
            access_key_id=cloud.access_key_id,
            access_key_secret=SecretStr(cloud.access_key_secret),
            instance_id=cloud.instance_id,
            endpoint=cloud.endpoint,
            protocol="http",
            max_qps=100,
        )
    )
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
    """A recording that is refused for too long becomes a dead letter, and the offset moves on."""
    monkeypatch.setattr(recorder, "PATIENCE_SECONDS", 0.5)
    cloud = LateCloud({"call-1": [RejectedError("none") for _ in range(9)]})
    bench.send(status(1))
    with bench.recorder(cloud):
        bench.wait_for_commit()
    assert len(read_messages(bench.topics, STATUS_CHANGED.dead_letters)) == 1
    assert read_events(bench.topics, JOB_RECORDED) == []
