"""What an agent sends: its events and the dead letters beside them, acknowledged before anything else happens."""

from collections.abc import Iterable, Sequence
from typing import Protocol, cast

from runtime.dead_letters import DeadLetter, Origin, announce, as_bare_record, as_record
from runtime.kafka import Headers, Outgoing
from streams.app import HeldEvent
from streams.emitter import Refusal, RefusedError


class Sender(Protocol):
    """What an outbox needs of an emitter."""

    async def emit(self, records: Sequence[Outgoing]) -> None:
        """Return when all records are acknowledged; raises RefusedError when some never will be."""
        ...


class Outbox:
    """Sends for one consumer group by `sender`; what is refused for good becomes a dead letter of its topic."""

    def __init__(self, sender: Sender, group: str) -> None:
        self.sender = sender
        self._group = group

    async def send(self, records: Sequence[Outgoing], letters: Sequence[DeadLetter] = ()) -> None:
        """Return when every record is acknowledged, itself or as a dead letter; raises RetryableError."""
        refused = await self._refused(records)
        await self._send_letters([*letters, *map(_letter_of, refused)])

    async def _send_letters(self, letters: Sequence[DeadLetter]) -> None:
        """Send dead letters; one that no topic will ever take goes without its content."""
        if not letters:
            return
        if await self._refused([as_record(letter, group=self._group) for letter in letters]):
            for letter in letters:
                if await self._refused([as_record(letter, group=self._group)]):
                    await self.sender.emit([as_bare_record(letter, group=self._group)])
        announce(letters)

    async def _refused(self, records: Sequence[Outgoing]) -> Sequence[Refusal]:
        """Send records; return those that are refused for good."""
        try:
            await self.sender.emit(records)
        except RefusedError as error:
            return error.refusals
        return ()


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
    return tuple(raw)


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
