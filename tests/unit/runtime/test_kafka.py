"""Events as records, and what the client will not take."""

from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException, Message

from runtime.errors import RejectedError, RestartError, RetryableError
from runtime.kafka import Outgoing, enqueue, is_data, outgoing
from schemas.codec import decode
from schemas.ids import CallJobId, CallTaskId, EventId, TaskId, event_id_for
from schemas.instants import from_milliseconds
from schemas.jobs import JobRecorded
from schemas.tasks import QueryRequested
from schemas.topics import JOB_RECORDED, QUERY_REQUESTED

RECORDED = JobRecorded(
    event_id=EventId("e1"),
    call_job_id=CallJobId("job"),
    call_task_id=CallTaskId("call"),
    recording_url="https://example.com",
    recorded_at=from_milliseconds(1_790_000_000_123),
)


def test_an_event_is_a_record_with_the_headers_of_cloudevents() -> None:
    """Id, type, source and time of the event; key and value are the event's."""
    record = outgoing(JOB_RECORDED, RECORDED, source="record")
    assert (record.topic, record.key) == (JOB_RECORDED.name, b"job")
    assert decode(record.value, JobRecorded) == RECORDED
    assert dict(record.headers) == {
        "ce_specversion": b"1.0",
        "ce_id": b"e1",
        "ce_type": JOB_RECORDED.name.encode(),
        "ce_source": b"callstream/record",
        "ce_time": b"2026-09-21T14:13:20.123Z",
        "content-type": b"application/json",
    }


def test_an_event_without_id_and_time_has_an_id_all_the_same() -> None:
    """Made of topic and key, so a repeat is recognisable; a time that is not known is not made up."""
    headers = dict(outgoing(QUERY_REQUESTED, QueryRequested(task_id=TaskId("t")), source="cli").headers)
    assert headers["ce_id"] == event_id_for(QUERY_REQUESTED.name, "t", "").encode()
    assert "ce_time" not in headers


@pytest.mark.parametrize(
    ("raised", "meant"),
    [
        (KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)), RejectedError),
        (KafkaException(KafkaError(KafkaError._TRANSPORT)), RetryableError),
        (KafkaException(KafkaError(KafkaError._FATAL)), RestartError),
    ],
)
def test_what_the_client_refuses_is_said_in_our_words(raised: Exception, meant: type[Exception]) -> None:
    """And a full queue is no error: the caller waits in its own way."""

    class Refusing:
        def produce(self, *_: object, **__: object) -> None:
            """Refuse."""
            raise raised

    class Full:
        def produce(self, *_: object, **__: object) -> None:
            """Have no room."""
            raise BufferError

    record = Outgoing("topic", b"key", b"value")
    with pytest.raises(meant):
        enqueue(cast(Any, Refusing()), record, lambda _error, _message: None)
    assert not enqueue(cast(Any, Full()), record, lambda _error, _message: None)


def test_a_record_is_data_and_an_event_of_the_client_is_none() -> None:
    """An event is logged and passed over: the client gets along by itself."""
    assert is_data(Message(topic="t", partition=0, offset=1, value=b"v"))
    assert not is_data(Message(topic="t", error=KafkaError(KafkaError._TRANSPORT)))


@pytest.mark.parametrize(
    "error",
    [
        KafkaError(KafkaError.FENCED_INSTANCE_ID, "fenced", fatal=True),
        KafkaError(KafkaError._FATAL, "Fatal error: fenced"),
    ],
    ids=["by its mark", "by its code, as the library has it on messages"],
)
def test_a_finished_client_ends_the_role(error: KafkaError) -> None:
    """A fenced member gets no record and no further error: who waited for either would wait for ever."""
    with pytest.raises(RestartError):
        is_data(Message(topic="t", error=error))
