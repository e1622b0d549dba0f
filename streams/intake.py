"""Batches of events from a Faust stream, and the order of effects that every agent keeps.

What has arrived while one batch was worked on becomes the next one, so batches grow with the load and an idle agent
sleeps. Effects go outwards in: first all events are acknowledged by the broker, then the rows' changelog, then the
batch. Meanwhile further batches are decided, on rows that the broker may not have yet; no effect of one begins before
all effects of the one before are there. An error stops the process, and with it what was decided: nothing of the batch
is acknowledged, and the next process decides the same again. Faust would commit the poison page and go on.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Generic, Protocol, TypeVar

import faust

from runtime.logs import get_logger
from streams.app import HeldEvent
from streams.consuming import together

MOST_EVENTS: Final = 50  # pages
MOST_IN_HAND: Final = 3  # batches: one that is decided on, and those whose effects are on their way
QUIESCE_SECONDS: Final = 5.0

T = TypeVar("T")

log = get_logger(__name__)


class Worker(Protocol[T]):
    """What becomes of batches: what follows from one, and having it happen."""

    def decide(self, batch: Sequence[HeldEvent]) -> T:
        """Return what is to follow from a batch, given all that was decided before."""
        ...

    async def settle(self, effects: T) -> None:
        """Return when all of it is there, the broker's acknowledgements included."""
        ...


class Intake(Generic[T]):
    """Feeds one application's agent with batches; nothing of a generation whose partitions were revoked."""

    def __init__(self, app: faust.App, worker: Worker[T], *, most: int = MOST_EVENTS) -> None:
        self._app = app
        self._worker = worker
        self._most = most
        self._last: asyncio.Task[None] | None = None
        self._room = asyncio.Semaphore(MOST_IN_HAND)
        self._turn = asyncio.Lock()
        self._revoked_generation: int | None = None
        self._is_broken = False
        app.on_partitions_revoked.connect(self._quiesce)
        app.on_before_shutdown.connect(self._quiesce)

    async def run(self, stream: Any) -> None:
        """Work through `stream` until cancelled; an error in the work crashes the application.

        What was decided is settled also when this is cancelled meanwhile.
        """
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
            await _end(self._last)
            try:
                await work()
            except Exception as error:
                log.exception("work.failed", app=self._app.conf.id)
                await self._crash(error)

    async def _take(self, events: Sequence[HeldEvent]) -> None:
        async with self._turn:
            await self._room.acquire()
            batch = [event for event in events if event.message.generation_id != self._revoked_generation]
            effects = self._worker.decide(batch)
            self._last = asyncio.create_task(self._settle(effects, batch, self._last))

    async def _settle(self, effects: T, batch: Sequence[HeldEvent], before: asyncio.Task[None] | None) -> None:
        await _end(before)
        try:
            await self._worker.settle(effects)
            for event in batch:
                event.acknowledge()
            self._room.release()
        except Exception as error:
            log.exception("batch.failed", app=self._app.conf.id)
            await self._crash(error)

    async def _quiesce(self, *_: object, **__: object) -> None:
        """Finish the batch in hand and commit it; what waits belongs to the next owner. Called by Faust's signals."""
        self._revoked_generation = self._app.consumer_generation_id
        if self._is_broken or self._app.consumer is None:
            return
        try:
            async with asyncio.timeout(QUIESCE_SECONDS), self._turn:
                await _end(self._last)
        except TimeoutError:
            log.warning("batch.abandoned", app=self._app.conf.id)
        else:
            await self._app.consumer.commit()


async def _end(settling: asyncio.Task[None] | None) -> None:
    """Return when a batch is settled, where there is one; never when it failed. Giving up waiting does not stop it."""
    if settling is not None:
        await asyncio.wait([settling])
