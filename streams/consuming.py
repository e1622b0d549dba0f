"""Taking messages from Faust without waiting where there is nothing to wait for.

On the way in, Faust sleeps for a whole second whenever more waits for the agent than its buffer shall hold, and the
agent has nothing to do for most of it. `PromptConsumer` goes on when there is room.

And it starts four tasks for every message, to hear of a suspension or of the end while a full buffer keeps it waiting.
That costs as much as all that is done about an ended call. `EagerConsumer` hands the message on first; only where that
does not end at once are the others asked as well, which is then Faust's own way.

On the way out, a stream takes a turn of the event loop for every message. `together` waits for the first one in Faust's
way and takes with it what waits behind it.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Generator, Iterable
from functools import partial
from inspect import iscoroutine
from types import coroutine
from typing import Any, Final

import faust
from faust.transport.drivers import aiokafka
from mode.services import WaitResults

LOOK_SECONDS: Final = 0.01


async def together(app: faust.App, stream: Any, most: int) -> AsyncIterator[list[Any]]:
    """Give what waits in a stream, up to `most` events at a time, none of them acknowledged by Faust.

    As in a stream by itself, what was read before a rebalance or a suspension is left out.
    """
    waiting = stream.channel.queue
    async for first in stream.noack().events():
        events = [first]
        while len(events) < most and not waiting.empty():
            event = waiting.get_nowait()
            if event.message.generation_id == app.consumer_generation_id and app.flow_control.is_active():
                events.append(event)
        yield events


class PromptConsumer(aiokafka.Consumer):
    """Faust's consumer, but for the waiting for room."""

    async def _wait_next_records(self, timeout: float) -> Any:  # noqa: ASYNC109 - Faust calls it so
        """Ask for records as soon as a partition has room for them."""
        while self._has_no_room() and self.flow_active and not self.should_stop:  # noqa: ASYNC110 - many ends
            await asyncio.sleep(LOOK_SECONDS)
        return await super()._wait_next_records(timeout)

    def _has_no_room(self) -> bool:
        return bool(self._buffered_partitions) and not self._get_active_partitions()


class PromptTransport(aiokafka.Transport):
    """Faust's transport with that consumer."""

    Consumer = PromptConsumer


class EagerConsumer(PromptConsumer):
    """The same, which hands messages on before it asks anything else."""

    async def wait_first(self, *coros: Any, timeout: Any = None) -> WaitResults:  # noqa: ASYNC109 - Faust calls it so
        """Return when the first of several is done, or the consumer stopped; the foremost begins before the others."""
        foremost, *others = coros
        if not iscoroutine(foremost):
            return await super().wait_first(*coros, timeout=timeout)
        try:
            awaited = foremost.send(None)
        except StopIteration as end:
            _leave(others)
            return WaitResults([foremost], [end.value], self.should_stop)
        except BaseException:
            _leave(others)
            raise
        return await super().wait_first(_go_on(foremost, awaited), *others, timeout=timeout)


class EagerTransport(aiokafka.Transport):
    """Faust's transport with that one."""

    Consumer = EagerConsumer


def _leave(others: Iterable[Any]) -> None:
    """Close coroutines that nobody is going to await."""
    for other in filter(iscoroutine, others):
        other.close()


async def _go_on(begun: Coroutine[Any, Any, Any], awaited: Any) -> Any:
    return await _resume(begun, awaited)


@coroutine
def _resume(begun: Coroutine[Any, Any, Any], awaited: Any) -> Generator[Any, Any, Any]:
    """Do what is left of a coroutine that was begun elsewhere and awaits something."""
    while True:
        try:
            sent = yield awaited
        except BaseException as error:  # noqa: BLE001 - a cancellation is the coroutine's affair
            step = partial(begun.throw, error)
        else:
            step = partial(begun.send, sent)
        try:
            awaited = step()
        except StopIteration as end:
            return end.value
