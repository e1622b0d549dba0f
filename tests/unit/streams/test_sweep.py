"""What a sweep writes, and when it leaves everything alone."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

from schemas.instants import to_milliseconds
from streams.sweep import ROWS_AT_ONCE, Sweeper
from streams.tables import Write

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)


class FixedClock:
    """Always the same time."""

    def now(self) -> datetime:
        """Return it."""
        return NOW

    def monotonic(self) -> float:
        """Return nothing of interest."""
        return 0.0


@dataclass
class World:
    """A table, its application and its agent's turns, as far as a sweep sees them."""

    held: dict[bytes, bytes]
    writes: list[list[Write]] = field(default_factory=list)
    turns: int = 0
    rebalancing: bool = False
    consumer_generation_id: int = 1
    joins_after_turns: int | None = None
    was_asked: bool = False

    def owned(self) -> dict[bytes, int]:
        """Every row, in partition 2; a second sweep is one too many."""
        if self.was_asked:
            raise asyncio.CancelledError
        self.was_asked = True
        return dict.fromkeys(self.held, 2)

    def get(self, key: bytes) -> bytes | None:
        """Return a row."""
        return self.held.get(key)

    async def keep(self, writes: Sequence[Write]) -> None:
        """Take note."""
        self.writes.append(list(writes))

    def hold(self, *writes: Write) -> None:
        """Let go only of what is gone for good."""
        assert list(writes) == self.writes[-1]

    async def between(self, work: Callable[[], Awaitable[None]]) -> None:
        """Take a turn; somebody joins the group after some of them."""
        if self.turns == self.joins_after_turns:
            self.consumer_generation_id += 1
        self.turns += 1
        await work()


def keep(row: bytes, now_ms: int) -> bytes | None:
    """Delete what is `old`, shorten what is `long`."""
    assert now_ms == to_milliseconds(NOW)
    return {b"old": None, b"long": b"short"}.get(row, row)


def sweep(world: World) -> list[Write]:
    """Let one sweep run; returns what was written."""

    async def scenario() -> None:
        sweeper = Sweeper(cast(Any, world), cast(Any, world), cast(Any, world), keep, FixedClock(), seconds=0.01)
        running = asyncio.create_task(sweeper.run())
        await asyncio.wait([running], timeout=0.3)
        running.cancel()

    asyncio.run(scenario())
    return [write for writes in world.writes for write in writes]


def test_a_sweep_deletes_and_shortens_where_the_row_is() -> None:
    """A row that stays as it is costs nothing."""
    world = World({b"a": b"old", b"b": b"fine", b"c": b"long"})
    assert sweep(world) == [Write(2, b"a", None), Write(2, b"c", b"short")]


def test_a_table_with_nothing_to_sweep_is_not_written() -> None:
    """Not even by an empty batch."""
    world = World({b"b": b"fine"})
    assert (sweep(world), world.writes, world.turns) == ([], [], 1)


def test_a_sweep_takes_many_turns_and_ends_when_partitions_move() -> None:
    """The agent waits for some rows at most, and nothing is written into what may be another's."""
    world = World({b"%d" % number: b"old" for number in range(5 * ROWS_AT_ONCE)}, joins_after_turns=2)
    assert len(sweep(world)) == 2 * ROWS_AT_ONCE


def test_a_sweep_waits_for_the_end_of_a_rebalance() -> None:
    """Until the tables are recovered nobody knows what is old."""
    world = World({b"a": b"old"}, rebalancing=True)
    assert (sweep(world), world.turns) == ([], 0)
