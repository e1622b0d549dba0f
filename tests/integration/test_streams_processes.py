"""The stream roles as processes on a real Kafka: what goes in comes out, and a restart continues where it was."""

import random
import signal

import pytest
from confluent_kafka import Message
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource
from msgspec.structs import replace

from devtools.processes import stop, wait_until
from runtime.kafka import headers_of
from schemas.codec import decode, encode
from schemas.followups import FollowedUp, JobAnalysisRequested
from schemas.ids import CallJobId, EventId, PageId, ReferenceId, TaskId
from schemas.instants import from_milliseconds
from schemas.jobs import StatusChanged, Turn
from schemas.topics import FOLLOWED_UP, JOB_ANALYSIS_REQUESTED, JOBS_POLLED, STATUS_CHANGED, AnyTopic
from streams.changelogs import CHANGES_APP
from tests.fixtures.streams import T0, WORKER, Streams, page


def statuses_of(records: list[Message]) -> list[StatusChanged]:
    """Decode status events."""
    return [decode(record.value(), StatusChanged) for record in records]


def send(streams: Streams, topic: AnyTopic, *records: tuple[str, bytes]) -> None:
    """Produce records and wait for their acknowledgement."""
    producer = streams.producer()
    for key, value in records:
        producer.produce(streams.prefix + topic.name, key=key, value=value)
    assert producer.flush(20) == 0


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


BROKEN_IN_DECIDE = """
from streams import detection
decide = detection.Detector.decide
def decide_or_fail(self, batch):
    if any(b"page-13" in event.value for event in batch):
        raise RuntimeError("broken")
    return decide(self, batch)
detection.Detector.decide = decide_or_fail
"""
BROKEN_IN_SETTLE = """
from streams import detection
settle = detection.Detector.settle
async def settle_or_fail(self, effects):
    if any(write.key == b"page-13" for write in effects.writes):
        raise RuntimeError("broken")
    await settle(self, effects)
detection.Detector.settle = settle_or_fail
"""


@pytest.mark.parametrize("code", [BROKEN_IN_DECIDE, BROKEN_IN_SETTLE], ids=["decide", "settle"])
def test_an_error_ends_the_process_with_nothing_acknowledged(streams: Streams, code: str) -> None:
    """Exit status 1, the page is not committed, and a worker that can work on it finds it again."""
    streams.code = code + WORKER
    worker = streams.start("changes")
    send(streams, JOBS_POLLED, ("page-1", encode(page(1, T0, {0: "Executing"}))))
    wait_until(lambda: streams.committed(CHANGES_APP, JOBS_POLLED.name) == 1, seconds=40, what="acknowledged")
    send(streams, JOBS_POLLED, ("page-13", encode(page(13, T0, {0: "Executing"}))))
    assert worker.wait(40) == 1
    assert streams.committed(CHANGES_APP, JOBS_POLLED.name) == 1
    assert streams.count(STATUS_CHANGED.name) == 1
    streams.code = WORKER
    streams.start("changes")
    wait_until(lambda: streams.committed(CHANGES_APP, JOBS_POLLED.name) == 2, seconds=40, what="acknowledged")
    assert streams.count(STATUS_CHANGED.name) == 2


def test_an_event_that_no_broker_takes_is_a_dead_letter_and_no_loop(streams: Streams, kafka_admin: AdminClient) -> None:
    """Refused for its size by the broker itself: kept with its headers, the page is acknowledged, others go on."""
    resource = ConfigResource(
        ConfigResource.Type.TOPIC,
        streams.prefix + STATUS_CHANGED.name,
        incremental_configs=[ConfigEntry("max.message.bytes", "2000", incremental_operation=AlterConfigOpType.SET)],
    )
    for altered in kafka_admin.incremental_alter_configs([resource]).values():
        altered.result(30)
    small = page(2, T0, {0: "Executing"})
    [job] = page(1, T0, {0: "Executing"}).jobs
    script = random.Random(1).randbytes(4_000).hex()
    large = replace(
        small, page_id=PageId("page-1"), jobs=(replace(job, call_conversation=(Turn(speaker="Robot", script=script),)),)
    )
    streams.start("changes")
    send(streams, JOBS_POLLED, ("page-1", encode(large)))
    wait_until(lambda: streams.committed(CHANGES_APP, JOBS_POLLED.name) == 1, seconds=40, what="acknowledged")
    send(streams, JOBS_POLLED, ("page-2", encode(small)))
    wait_until(lambda: streams.committed(CHANGES_APP, JOBS_POLLED.name) == 2, seconds=40, what="acknowledged")
    [event] = statuses_of(streams.read(STATUS_CHANGED.name))
    assert event.call_job_id == "job-2-0"
    [letter] = streams.read(STATUS_CHANGED.dead_letters)
    refused = decode(letter.value(), StatusChanged)
    headers = dict(headers_of(letter))
    assert refused.call_conversation[0].script == script
    assert headers["ce_id"] == refused.event_id.encode()
    assert b"MSG_SIZE_TOO_LARGE" in b" ".join(value or b"" for value in headers.values())


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
