"""What leaves a table: rows of which nothing has been heard for so long that nothing will be.

A row whose key is never written again has nobody else to delete it. A sweep takes its turn between the batches of the
agent, some rows at a time, so its writes and the agent's have one order. What it deletes is gone once the broker has
acknowledged the tombstone; a kill before that leaves the row to the next sweep.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import faust

from runtime.clock import Clock
from runtime.logs import get_logger
from schemas.instants import to_milliseconds
from streams.intake import Intake
from streams.tables import Rows, Write

SWEEP_SECONDS: Final = 3_600.0
ROWS_AT_ONCE: Final = 50

Keep = Callable[[bytes, int], bytes | None]
"""Given a row and the time in milliseconds, what is to be kept of it: the row, a shorter one, or None."""

log = get_logger(__name__)


class Sweeper:
    """Sweeps one table of an application, again and again."""

    def __init__(
        self,
        app: faust.App,
        intake: Intake[Any],
        rows: Rows,
        keep: Keep,
        clock: Clock,
        *,
        seconds: float = SWEEP_SECONDS,
    ) -> None:
        self._app = app
        self._intake = intake
        self._rows = rows
        self._keep = keep
        self._clock = clock
        self._seconds = seconds

    async def run(self) -> None:
        """Sweep until cancelled, each time after an interval without a rebalance.

        A recovered row does not know of observations that showed no change. In that interval it hears of them.
        """
        while True:
            generation = self._app.consumer_generation_id
            await asyncio.sleep(self._seconds)
            if self._is_undisturbed(generation):
                rows = list(self._rows.owned().items())
                for start in range(0, len(rows), ROWS_AT_ONCE):
                    some = rows[start : start + ROWS_AT_ONCE]
                    await self._intake.between(partial(self._sweep, some, generation))

    async def _sweep(self, some: Sequence[tuple[bytes, int]], generation: int) -> None:
        if self._is_undisturbed(generation) and (writes := self._due(some)):
            await self._rows.keep(writes)
            self._rows.hold(*writes)
            log.info("table.swept", rows=len(writes))

    def _is_undisturbed(self, generation: int) -> bool:
        """Return whether the partitions are those that they were."""
        return not self._app.rebalancing and self._app.consumer_generation_id == generation

    def _due(self, some: Sequence[tuple[bytes, int]]) -> list[Write]:
        now_ms = to_milliseconds(self._clock.now())
        held = [(key, partition, self._rows.get(key)) for key, partition in some]
        kept = [(key, partition, row, self._keep(row, now_ms)) for key, partition, row in held if row is not None]
        return [Write(partition, key, left) for key, partition, row, left in kept if left != row]
