"""Dead letters: what nobody can use goes to `<topic>.dlq` byte for byte, with the reason in Connect's headers.

A dead letter is acknowledged by the broker before its source offset may be committed, so it is never silence. The
headers of the original come first, then one block of ours, always of the same names in the same order: so whatever the
original's headers are called, it can be had back.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from confluent_kafka import Message

from runtime import metrics
from runtime.errors import RejectedError
from runtime.kafka import Headers, Outgoing, Publisher, as_bytes, headers_of
from runtime.logs import get_logger
from runtime.progress import Partition
from schemas.topics import DEAD_LETTER_SUFFIX

PREFIX: Final = "__connect.errors."
NAMES: Final = (
    "topic", "partition", "offset", "consumer.group", "stage", "exception.class.name", "exception.message",
)  # fmt: skip
MAX_REASON_BYTES: Final = 1_024
TOO_LARGE: Final = "too_large"
UNMAPPED: Final = "unmapped"

log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A record as it came: where from, and its bytes; what was in no topic has no place, and an offset below 0."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()

    @property
    def place(self) -> Partition:
        """The partition that it lies in."""
        return self.topic, self.partition

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
    headers = [*origin.headers, *_block(letter, group=group, stage=letter.kind)]
    return Outgoing(_letters_of(origin.topic), origin.key, origin.value, headers)


def as_bare_record(letter: DeadLetter, *, group: str) -> Outgoing:
    """Return what is left of a letter that the broker does not take: where the original lies, and why it died.

    Its key stays where it is a short one: of a record that we made ourselves it says whose it was.
    """
    key = letter.origin.key
    kept = key if key is not None and len(key) <= MAX_REASON_BYTES else None
    return Outgoing(_letters_of(letter.origin.topic), kept, None, _block(letter, group=group, stage=TOO_LARGE))


def split_headers(headers: Headers) -> tuple[Headers, dict[str, str]]:
    """Return the original's headers and our block by names without prefix; of a letter's letter, the first block.

    A letter that somebody else wrote has Connect's headers in any order, and none of the original's is called so.
    """
    found = list(headers)
    if [name for name, _ in found[-len(NAMES) :]] == [PREFIX + name for name in NAMES]:
        rest, block = found[: -len(NAMES)], _texts(found[-len(NAMES) :])
        if block["topic"].endswith(DEAD_LETTER_SUFFIX):
            return split_headers(rest)
        return rest, block
    return [pair for pair in found if not pair[0].startswith(PREFIX)], _texts(found)


class DeadLetterOffice:
    """Sends dead letters for one consumer group."""

    def __init__(self, publisher: Publisher, group: str) -> None:
        self._publisher = publisher
        self._group = group

    def send(self, letters: Iterable[DeadLetter]) -> None:
        """Block until the broker has acknowledged every letter; raises RetryableError where it is away.

        One that it will never take, because compression had made the original look small, goes without its content.
        """
        batch = list(letters)
        if not batch:
            return
        try:
            self._publisher.publish(as_record(letter, group=self._group) for letter in batch)
        except RejectedError:
            for letter in batch:
                self._send_alone(letter)
        announce(batch)

    def _send_alone(self, letter: DeadLetter) -> None:
        try:
            self._publisher.publish([as_record(letter, group=self._group)])
        except RejectedError:
            self._publisher.publish([as_bare_record(letter, group=self._group)])


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


def _letters_of(topic: str) -> str:
    return topic if topic.endswith(DEAD_LETTER_SUFFIX) else topic + DEAD_LETTER_SUFFIX


def _block(letter: DeadLetter, *, group: str, stage: str) -> list[tuple[str, bytes | None]]:
    origin = letter.origin
    reason = f"{letter.code}: {letter.reason}" if letter.code else letter.reason
    values = (origin.topic, str(origin.partition), str(origin.offset), group, stage, letter.exception, reason)
    return [(PREFIX + name, _bounded(value)) for name, value in zip(NAMES, values, strict=True)]


def _bounded(text: str) -> bytes:
    """Return UTF-8 of at most MAX_REASON_BYTES, whole characters only."""
    return text.encode("utf-8", "replace")[:MAX_REASON_BYTES].decode("utf-8", "ignore").encode()


def _texts(headers: Sequence[tuple[str, bytes | None]]) -> dict[str, str]:
    return {
        name.removeprefix(PREFIX): (value or b"").decode("utf-8", "replace")
        for name, value in headers
        if name.startswith(PREFIX)
    }
