"""Sending from an event loop, against a producer that does what the test says."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from confluent_kafka import KafkaError, KafkaException

from runtime.errors import RejectedError, RetryableError
from runtime.kafka import Outgoing
from runtime.settings import KafkaSettings
from streams import emitter as module
from streams.emitter import Emitter, RefusedError


class ScriptedProducer:
    """Reports, when flushed or polled, the failures that `fate` names by value; full for the first `full` calls."""

    fate: ClassVar[dict[bytes, KafkaError]] = {}
    full: ClassVar[int] = 0

    def __init__(self, _config: object) -> None:
        self._lock = threading.Lock()
        self._queue: list[tuple[Callable[[Any, Any], None], KafkaError | None]] = []

    def produce(
        self,
        _topic: str,
        *,
        value: bytes | None,
        on_delivery: Callable[[Any, Any], None],
        **_: object,
    ) -> None:
        """Queue a record, or refuse to."""
        if ScriptedProducer.full:
            ScriptedProducer.full -= 1
            raise BufferError
        if value == b"huge":
            raise KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
        with self._lock:
            self._queue.append((on_delivery, self.fate.get(value or b"")))

    def flush(self, seconds: float) -> int:
        """Report a part of what was queued, and say how much is left."""
        threading.Event().wait(min(seconds, 0.001))
        with self._lock:
            reports, self._queue = self._queue[:300], self._queue[300:]
        for report, error in reports:
            if error is not None:
                report(error, None)
        return len(self._queue)

    def poll(self, seconds: float) -> None:
        """Do the same."""
        self.flush(seconds)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> type[ScriptedProducer]:
    """A producer without a broker."""
    monkeypatch.setattr(module, "make_producer", lambda *_, **__: ScriptedProducer({}))
    monkeypatch.setattr(ScriptedProducer, "fate", {})
    monkeypatch.setattr(ScriptedProducer, "full", 0)
    return ScriptedProducer


def emit(*values: bytes) -> None:
    """Send values as one batch."""

    async def run() -> None:
        sender = Emitter(KafkaSettings())
        try:
            await sender.emit([Outgoing("topic", b"key", value, [("ce_id", b"1")]) for value in values])
        finally:
            sender.close()

    asyncio.run(run())


@pytest.mark.usefixtures("scripted")
def test_a_batch_ends_when_nothing_is_left_in_the_queue() -> None:
    """Nothing to send is sent at once; many records end together."""
    emit()
    emit(*[b"%d" % number for number in range(1_000)])


def test_a_full_queue_is_waited_out(scripted: type[ScriptedProducer]) -> None:
    """The producer's queue is bounded; the batch goes on when there is room."""
    scripted.full = 3
    emit(b"a", b"b")


def test_refused_records_are_named_and_the_others_are_sent(scripted: type[ScriptedProducer]) -> None:
    """Whether the client or the broker refuses: the record comes back as it was, with the reason."""
    scripted.fate = {b"bad": KafkaError(KafkaError.INVALID_RECORD)}
    with pytest.raises(RefusedError) as caught:
        emit(b"good", b"bad", b"huge")
    assert isinstance(caught.value, RejectedError)
    refused = {refusal.record.value: refusal for refusal in caught.value.refusals}
    assert set(refused) == {b"bad", b"huge"}
    assert refused[b"bad"].record == Outgoing("topic", b"key", b"bad", [("ce_id", b"1")])
    assert refused[b"huge"].error.code == "MSG_SIZE_TOO_LARGE"


def test_a_broker_that_is_away_for_too_long_is_said(scripted: type[ScriptedProducer]) -> None:
    """Then the whole batch may be sent again, whatever else was refused."""
    scripted.fate = {b"late": KafkaError(KafkaError._MSG_TIMED_OUT), b"bad": KafkaError(KafkaError.INVALID_RECORD)}
    with pytest.raises(RetryableError):
        emit(b"bad", b"late")
