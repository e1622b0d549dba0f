"""A batch: what a flush will write, the newest record per key, and the offsets that will be done by it. Pure.

The batch says whether it is full or due; the loop owns consuming, flushing and committing.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from runtime.dead_letters import DeadLetter, Origin
from sinks.mapping import BY_TOPIC, KINDS, Kind

Key = tuple[str, str]


class Place(NamedTuple):
    """Where a record lies, and the bytes of its value."""

    topic: str
    partition: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Record:
    """A decoded event, its kind and the bytes that it came as; these are asked for only where it cannot be applied."""

    kind: Kind
    event: msgspec.Struct
    source: Callable[[], Origin]

    @property
    def origin(self) -> Origin:
        """The record as it came."""
        return self.source()

    @property
    def identity(self) -> Key:
        """What tells this record from others of its kind in a batch."""
        return self.kind.key(self.event), self.kind.variant(self.event)

    @property
    def version(self) -> int:
        """How new the record is among those of its identity."""
        return self.kind.version(self.event)


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
    offsets: dict[tuple[str, int], int] = field(default_factory=dict)
    taken: int = 0
    size: int = 0
    superseded: int = 0

    def add(self, record: Record, place: Place, *, now: float) -> None:
        """Take a record; an older one of the same identity makes room for it."""
        self._account(place, now)
        of_kind, identity = self.records[record.kind.name], record.identity
        known = of_kind.get(identity)
        if known is not None:
            self.superseded += 1
            if known.version >= record.version:
                return
        of_kind[identity] = record

    def reject(self, letter: DeadLetter, *, now: float) -> None:
        """Take a record that cannot be decoded."""
        origin = letter.origin
        self._account(Place(origin.topic, origin.partition, origin.offset, len(origin.value or b"")), now)
        self.letters.append(letter)

    def forget(self, partitions: Iterable[tuple[str, int]]) -> None:
        """Leave the offsets of partitions that now belong to somebody else; writing their records does no harm."""
        for partition in partitions:
            self.offsets.pop(partition, None)

    def is_empty(self) -> bool:
        """Return whether there is nothing to flush."""
        return not self.taken

    def is_full(self, policy: BatchPolicy) -> bool:
        """Return whether no more may be added before a flush."""
        return self.taken >= policy.rows or self.size >= policy.byte_limit

    def is_due(self, policy: BatchPolicy, *, now: float) -> bool:
        """Return whether the first record has waited long enough."""
        return self.opened_at is not None and now - self.opened_at >= policy.seconds

    def trigger(self, policy: BatchPolicy, *, now: float) -> str | None:
        """Return why the batch is to be flushed now, None where it is not."""
        if self.taken >= policy.rows:
            return "rows"
        if self.size >= policy.byte_limit:
            return "bytes"
        return "age" if self.is_due(policy, now=now) else None

    def of(self, kind: Kind) -> list[Record]:
        """Return the records of a kind in the order of their keys, so that two sinks lock rows in one order."""
        of_kind = self.records[kind.name]
        return [of_kind[identity] for identity in sorted(of_kind)]

    def _account(self, place: Place, now: float) -> None:
        if self.opened_at is None:
            self.opened_at = now
        self.taken += 1
        self.size += place.size
        self.offsets[place.topic, place.partition] = place.offset + 1


def kind_of(topic: str) -> Kind:
    """Return the kind of record that `topic` carries; raises KeyError for a topic that the sink does not read."""
    return BY_TOPIC[topic]
