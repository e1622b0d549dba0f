"""A batch: what a flush will write, the newest record per key, and the offsets that will be done by it. Pure.

The batch says whether it is full or due; the loop owns consuming and committing, the flusher the writing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple

import msgspec

from runtime.dead_letters import DeadLetter, Origin
from runtime.progress import Partition
from sinks.mapping import KINDS, LEADS, Kind

Key = tuple[str, str]


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where a record lies, and how many bytes its value has."""

    topic: str
    partition: int
    offset: int
    size: int


class Record(msgspec.Struct, frozen=True, gc=False):
    """An event as the database will take it. `source` gives what it came as; only what cannot be applied needs that.

    `row` is what its kind makes of the event for the statement's parameters. The event itself is not kept: to make all
    of it at once, and let go of it while it is in the processor's cache, costs half of doing it for a whole batch.
    `ended_at` is when its call ended, where it is the news of that; `expires_at` is when a record that was parked
    becomes a dead letter.
    """

    kind: Kind
    identity: Key
    version: int
    row: Any
    source: Callable[[], Origin]
    ended_at: datetime | None = None
    expires_at: datetime | None = None

    @classmethod
    def of(
        cls, kind: Kind, event: msgspec.Struct, source: Callable[[], Origin], expires_at: datetime | None = None
    ) -> "Record":
        """Return the record of an event."""
        identity, version = kind.identity(event), kind.version(event)
        return cls(kind, identity, version, kind.row(event), source, kind.ended_at(event), expires_at)

    @property
    def origin(self) -> Origin:
        """The record as it came."""
        return self.source()


class Portion(NamedTuple):
    """Records of one kind in the order in which they are written, and the parameters that their statements take."""

    kind: Kind
    records: Sequence[Record]
    parameters: Mapping[str, bytes]

    @classmethod
    def of(cls, kind: Kind, records: Sequence[Record]) -> "Portion":
        """Return the portion of `records`."""
        return cls(kind, records, kind.parameters([record.row for record in records]))

    def halves(self) -> "tuple[Portion, Portion]":
        """Return the two halves of a portion of at least two."""
        middle = len(self.records) // 2
        return Portion.of(self.kind, self.records[:middle]), Portion.of(self.kind, self.records[middle:])


def portions_of(records: Iterable[Record]) -> list[Portion]:
    """Return records as one portion per kind, in the order in which kinds are applied."""
    of_kind: dict[str, list[Record]] = {kind.name: [] for kind in KINDS}
    for record in records:
        of_kind[record.kind.name].append(record)
    return [
        Portion.of(kind, sorted(of_kind[kind.name], key=lambda record: record.identity))
        for kind in KINDS
        if of_kind[kind.name]
    ]


@dataclass(frozen=True, kw_only=True)
class BatchPolicy:
    """When a batch is flushed: at so many records, so many bytes of values, or so old, whichever comes first."""

    rows: int
    seconds: float
    byte_limit: int = 16 * 1024 * 1024


@dataclass(kw_only=True)
class Batch:
    """Records on their way to one transaction; `opened_at` is the loop's monotonic time of the first."""

    opened_at: float | None = None
    records: dict[str, dict[Key, Record]] = field(default_factory=lambda: {kind.name: {} for kind in KINDS})
    letters: list[DeadLetter] = field(default_factory=list)
    offsets: dict[Partition, int] = field(default_factory=dict)
    taken: int = 0
    size: int = 0
    superseded: int = 0

    def add(self, record: Record, place: Place, *, now: float) -> None:
        """Take a record; an older one of the same identity makes room for it."""
        self._account(place, now)
        of_kind, identity = self.records[record.kind.name], record.identity
        known = of_kind.setdefault(identity, record)
        if known is not record:
            self.superseded += 1
            if known.version < record.version:
                of_kind[identity] = record

    def reject(self, letter: DeadLetter, *, now: float) -> None:
        """Take a record that cannot be decoded."""
        origin = letter.origin
        self._account(Place(origin.topic, origin.partition, origin.offset, len(origin.value or b"")), now)
        self.letters.append(letter)

    def forget(self, partitions: Iterable[Partition]) -> None:
        """Leave the offsets of partitions that now belong to somebody else; writing their records does no harm."""
        for partition in partitions:
            self.offsets.pop(partition, None)

    def is_empty(self) -> bool:
        """Return whether there is nothing to flush."""
        return not self.taken

    def is_full(self, policy: BatchPolicy) -> bool:
        """Return whether no more may be added before a flush."""
        return self.taken >= policy.rows or self.size >= policy.byte_limit

    def trigger(self, policy: BatchPolicy, *, now: float) -> str | None:
        """Return why the batch is to be flushed now, None where it is not."""
        if self.taken >= policy.rows:
            return "rows"
        if self.size >= policy.byte_limit:
            return "bytes"
        return "age" if self.opened_at is not None and now - self.opened_at >= policy.seconds else None

    @cached_property
    def portions(self) -> list[Portion]:
        """What is to be written, kind by kind; sorted and joined when it is first asked for, so ask when all is in.

        The order of keys makes two sinks lock rows in one order, mostly. Of leads that contradict each other the first
        to come stays, so they keep their order.
        """
        return [
            Portion.of(kind, [of_kind[identity] for identity in (of_kind if kind is LEADS else sorted(of_kind))])
            for kind in KINDS
            if (of_kind := self.records[kind.name])
        ]

    def _account(self, place: Place, now: float) -> None:
        if self.opened_at is None:
            self.opened_at = now
        self.taken += 1
        self.size += place.size
        self.offsets[place.topic, place.partition] = place.offset + 1
