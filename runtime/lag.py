"""Consumer lag: committed offsets against what the topics hold, in records and in seconds. Pure.

A partition never committed counts from its low watermark, and so does one whose committed offset lies below it: what
retention or compaction removed is not waiting for anybody. Seconds are the age of the oldest record not yet processed,
by the broker's own timestamp.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from schemas.instants import to_milliseconds

STUCK_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Partition:
    """What the broker says of a partition; `leader` is -1 where it has none."""

    topic: str
    partition: int
    low: int
    end: int
    leader: int
    replicas: tuple[int, ...]
    in_sync: int

    @property
    def records(self) -> int:
        """How many offsets the partition spans: its records, where nothing was compacted."""
        return self.end - self.low


@dataclass(frozen=True, kw_only=True)
class PartitionLag:
    """How far a group is behind in one partition; `committed` is None where it never committed."""

    group: str
    topic: str
    partition: int
    low: int
    end: int
    committed: int | None
    oldest_ms: int | None = None

    @property
    def start(self) -> int:
        """The offset that is processed next."""
        return self.low if self.committed is None else max(self.committed, self.low)

    @property
    def records(self) -> int:
        """Records not yet processed, never negative."""
        return max(0, self.end - self.start)

    def seconds(self, now: datetime) -> float:
        """Age of the oldest record not yet processed; 0 where there is none."""
        if self.oldest_ms is None:
            return 0.0
        return max(0.0, (to_milliseconds(now) - self.oldest_ms) / 1000)


@dataclass(frozen=True, kw_only=True)
class GroupState:
    """What the broker says of a group: `Stable`, `Empty`, `Dead`, ... or `Unknown`, and how many members it has."""

    group: str
    state: str
    members: int


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One look at the broker; the partitions are those that were asked for and are there."""

    lags: tuple[PartitionLag, ...] = ()
    states: tuple[GroupState, ...] = ()
    partitions: tuple[Partition, ...] = ()
    brokers: tuple[tuple[int, str], ...] = ()


class Stalls:
    """Remembers since when each group has had something to do and committed nothing: a stuck worker looks alive."""

    def __init__(self) -> None:
        self._since: dict[tuple[str, str, int], tuple[int | None, float]] = {}

    def observe(self, lags: Iterable[PartitionLag], now: float) -> dict[str, float]:
        """Return for each group the seconds, at `now` of a steady clock, since its slowest partition last moved."""
        longest: dict[str, float] = {}
        for lag in lags:
            place = (lag.group, lag.topic, lag.partition)
            committed, since = self._since.get(place, (lag.committed, now))
            if not lag.records or committed != lag.committed:
                since = now
            self._since[place] = (lag.committed, since)
            longest[lag.group] = max(longest.get(lag.group, 0.0), now - since)
        return longest


class Health(StrEnum):
    """Whether a group's work gets on."""

    WORKING = "working"
    STUCK = "stuck"
    NOBODY = "nobody"
    UNKNOWN = "unknown"


def health_of(state: GroupState, stalled_seconds: float) -> tuple[Health, str]:
    """Return a group's health and what a person reads of it; it is stuck if it has not moved for a minute."""
    if state.state == "Unknown":
        return Health.UNKNOWN, "the broker does not say who works"
    if not state.members:
        never = "nobody has worked for days, or ever" if state.state == "Dead" else "nobody works"
        return Health.NOBODY, f"{never} ({state.state})"
    if stalled_seconds > STUCK_SECONDS:
        return Health.STUCK, f"stuck for {stalled_seconds:.0f} s ({state.state}, {_members(state.members)})"
    return Health.WORKING, f"{state.state}, {_members(state.members)}"


def _members(count: int) -> str:
    return "1 member" if count == 1 else f"{count} members"
