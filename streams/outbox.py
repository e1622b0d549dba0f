"""What an agent sends: its events and the dead letters beside them, acknowledged before anything else happens."""

from collections.abc import Iterable, Sequence
from typing import Protocol, cast

from runtime.dead_letters import DeadLetter, Origin, announce, as_record
from runtime.kafka import Headers, Outgoing
from streams.app import HeldEvent
from streams.emitter import Refusal, RefusedError


class Sender(Protocol):
    """What an outbox needs of an emitter."""

    async def emit(self, records: Sequence[Outgoing]) -> None:
        """Return when all records are acknowledged; raises RefusedError when some never will be."""
        ...


class Outbox:
    """Sends for one consumer group; a record that is refused for good becomes a dead letter of its topic."""

    def __init__(self, sender: Sender, group: str) -> None:
        self._sender = sender
        self._group = group

    async def send(self, records: Sequence[Outgoing], letters: Sequence[DeadLetter] = ()) -> None:
        """Return when every record is acknowledged, itself or as a dead letter; raises RetryableError."""
        try:
            await self._sender.emit([*records, *(as_record(letter, group=self._group) for letter in letters)])
        except RefusedError as error:
            refused = [_letter_of(refusal) for refusal in error.refusals]
            await self._send_refused(refused)
            letters = [*letters, *refused]
        announce(letters)

    async def _send_refused(self, letters: Sequence[DeadLetter]) -> None:
        """Send dead letters of refused records; one that is refused again, being too large, goes without its value."""
        try:
            await self._sender.emit([as_record(letter, group=self._group) for letter in letters])
        except RefusedError as error:
            bare = [Outgoing(r.record.topic, r.record.key, None, r.record.headers) for r in error.refusals]
            await self._sender.emit(bare)


def origin_of(event: HeldEvent) -> Origin:
    """Return the origin of an event as it came, byte for byte."""
    message = event.message
    return Origin(
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        key=message.key,
        value=message.value,
        headers=_headers(event),
    )


def _headers(event: HeldEvent) -> Headers:
    raw = cast(Iterable[tuple[str, bytes | None]], event.message.headers or ())
    return tuple((name, value or b"") for name, value in raw)


def _letter_of(refusal: Refusal) -> DeadLetter:
    record = refusal.record
    return DeadLetter(
        origin=Origin(
            topic=record.topic, partition=-1, offset=-1, key=record.key, value=record.value, headers=record.headers
        ),
        kind="refused",
        reason=str(refusal.error),
        exception="callstream.RejectedError",
        code=refusal.error.code,
    )
