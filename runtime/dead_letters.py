"""Dead letters: what nobody can use goes to `<topic>.dlq` byte for byte, with the reason in Connect's headers.

A dead letter is acknowledged by the broker before its source offset may be committed, so it is never silence.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from confluent_kafka import Message

from runtime import metrics
from runtime.kafka import Headers, Outgoing, Publisher, as_bytes, headers_of
from runtime.logs import get_logger
from schemas.topics import DEAD_LETTER_SUFFIX

PREFIX: Final = "__connect.errors."
MAX_REASON_BYTES: Final = 1_024

log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A record as it came: where from, and its bytes."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()

    @classmethod
    def of(cls, message: Message) -> "Origin":
        """Return the origin of a consumed record."""
        return cls(
            topic=message.topic() or "",
            partition=message.partition() or 0,
            offset=message.offset() or 0,
            key=as_bytes(message.key()),
            value=as_bytes(message.value()),
            headers=headers_of(message),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """An origin and why it could not be used; `kind` is a short label for metrics, `code` a SQLSTATE or the like."""

    origin: Origin
    kind: str
    reason: str
    exception: str = "callstream.DecodeError"
    code: str | None = None


def as_record(letter: DeadLetter, *, group: str) -> Outgoing:
    """Return the dead letter as a record of its `.dlq` topic; headers of the original come first."""
    origin = letter.origin
    topic = origin.topic if origin.topic.endswith(DEAD_LETTER_SUFFIX) else origin.topic + DEAD_LETTER_SUFFIX
    reason = f"{letter.code}: {letter.reason}" if letter.code else letter.reason
    added = {
        "topic": origin.topic,
        "partition": str(origin.partition),
        "offset": str(origin.offset),
        "consumer.group": group,
        "stage": letter.kind,
        "exception.class.name": letter.exception,
        "exception.message": reason,
    }
    headers = [(PREFIX + name, value.encode("utf-8", "replace")[:MAX_REASON_BYTES]) for name, value in added.items()]
    return Outgoing(topic, origin.key, origin.value, [*origin.headers, *headers])


class DeadLetterOffice:
    """Sends dead letters for one consumer group."""

    def __init__(self, publisher: Publisher, group: str) -> None:
        self._publisher = publisher
        self._group = group

    def send(self, letters: Iterable[DeadLetter]) -> None:
        """Block until the broker has acknowledged every letter; raises RetryableError where it is away."""
        batch = list(letters)
        if not batch:
            return
        self._publisher.publish(as_record(letter, group=self._group) for letter in batch)
        announce(batch)


def announce(letters: Iterable[DeadLetter]) -> None:
    """Count and log dead letters that the broker has acknowledged, by their places."""
    for letter in letters:
        metrics.DEAD_LETTERED.labels(letter.origin.topic, letter.kind).inc()
        log.warning(
            "record.dead_lettered",
            topic=letter.origin.topic,
            partition=letter.origin.partition,
            offset=letter.origin.offset,
            kind=letter.kind,
            code=letter.code,
        )
