"""Batches of events from a Faust stream, and the order of effects that every agent keeps.

What has arrived while one batch was worked on becomes the next one, so batches grow with the load and an idle agent
sleeps. Effects go outwards in: first all events are acknowledged by the broker, then the rows' changelog, then the
batch. An error stops the process with nothing acknowledged: Faust would commit the poison page and go on.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import faust

from runtime.logs import get_logger
from streams.app import HeldEvent
from streams.consuming import together

MOST_EVENTS: Final = 50  # pages: four times as many are no faster, and take 150 MB more
QUIESCE_SECONDS: Final = 5.0

Work = Callable[[Sequence[HeldEvent]], Awaitable[None]]

log = get_logger(__name__)


class Intake:
    """Feeds one application's agent with batches; nothing of a generation whose partitions were revoked."""

    def __init__(self, app: faust.App, work: Work, *, most: int = MOST_EVENTS) -> None:
        self._app = app
        self._work = work
        self._most = most
        self._turn = asyncio.Lock()
        self._revoked_generation: int | None = None
        self._is_broken = False
        app.on_partitions_revoked.connect(self._quiesce)
        app.on_before_shutdown.connect(self._quiesce)

    async def run(self, stream: Any) -> None:
        """Work through `stream` until cancelled; an error in the work crashes the application."""
        try:
            async for events in together(self._app, stream, self._most):
                await self._take(events)
        except Exception as error:
            log.exception("batch.failed", app=self._app.conf.id)
            await self._crash(error)

    async def _crash(self, error: Exception) -> None:
        """Stop the process with status 1; never returns, so that nothing more is taken."""
        self._is_broken = True
        await self._app.crash(error)
        await asyncio.Event().wait()

    async def between(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do `work` while no batch is worked on; an error in it crashes the application, as one in a batch does."""
        async with self._turn:
            try:
                await work()
            except Exception as error:
                log.exception("work.failed", app=self._app.conf.id)
                await self._crash(error)

    async def _take(self, events: Sequence[HeldEvent]) -> None:
        async with self._turn:
            batch = [event for event in events if event.message.generation_id != self._revoked_generation]
            if batch:
                await self._work(batch)
                for event in batch:
                    event.acknowledge()

    async def _quiesce(self, *_: object, **__: object) -> None:
        """Finish the batch in hand and commit it; what waits belongs to the next owner. Called by Faust's signals."""
        self._revoked_generation = self._app.consumer_generation_id
        if self._is_broken or self._app.consumer is None:
            return
        try:
            async with asyncio.timeout(QUIESCE_SECONDS), self._turn:
                pass  # nobody works any more
        except TimeoutError:
            log.warning("batch.abandoned", app=self._app.conf.id)
        else:
            await self._app.consumer.commit()
