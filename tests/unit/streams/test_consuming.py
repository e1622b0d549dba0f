"""Taking messages without waiting for each: the same results as Faust's own way, whatever the handler does."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from faust.types import TP
from mode import Service

from streams.consuming import EagerConsumer, PromptConsumer, together
from tests.fixtures.faust_stream import StubStream


class Waiter(EagerConsumer):
    """As much of a consumer as waiting needs."""

    def __init__(self) -> None:
        Service.__init__(self)


def test_what_ends_at_once_starts_no_task() -> None:
    """And whoever is not needed is not asked; an error comes through."""

    async def scenario() -> None:
        suspended = asyncio.Event()
        tasks = len(asyncio.all_tasks())

        async def handle() -> str:
            assert len(asyncio.all_tasks()) == tasks
            return "handled"

        async def fail() -> None:
            raise KeyError("bad")

        result = await Waiter().wait_first(handle(), suspended.wait())
        assert result.results == ["handled"]
        with pytest.raises(KeyError, match="bad"):
            await Waiter().wait_first(fail(), suspended.wait())

    asyncio.run(scenario())


def test_records_are_asked_for_as_soon_as_there_is_room() -> None:
    """Faust itself looks again after a whole second, in which its agent has long finished what waited."""
    partition, asked = TP("pages", 0), []

    class Full(PromptConsumer):
        flow_active = True

        def __init__(self) -> None:
            Service.__init__(self)
            self._active_partitions, self._buffered_partitions = set(), {partition}
            self.not_waiting_next_records = asyncio.Event()
            self.app = cast(Any, SimpleNamespace(client_only=False))

        async def _getmany(self, active_partitions: Any, timeout: float) -> Any:  # noqa: ARG002, ASYNC109 - Faust's names
            asked.append(set(active_partitions))
            return {partition: ["record"]}

    async def scenario() -> None:
        consumer = Full()
        waiting = asyncio.ensure_future(consumer._wait_next_records(1.0))
        await asyncio.sleep(0.1)
        assert asked == []
        consumer.on_buffer_drop(partition)
        async with asyncio.timeout(0.5):
            records, _ = await waiting
        assert (records, asked) == ({partition: ["record"]}, [{partition}])

    asyncio.run(scenario())


@pytest.mark.parametrize("ends", ["handled", "suspended", "cancelled"])
def test_what_has_to_wait_waits_as_it_did(ends: str) -> None:
    """For the handler, the suspension, or its own cancellation, of which the handler hears."""

    async def scenario() -> None:
        suspended, room, heard = asyncio.Event(), asyncio.Event(), []

        async def handle() -> str:
            try:
                await asyncio.sleep(0)
                await room.wait()
            except asyncio.CancelledError:
                heard.append("cancelled")
                raise
            return "handled"

        waiting = asyncio.ensure_future(Waiter().wait_first(handle(), suspended.wait()))
        for _ in range(5):
            await asyncio.sleep(0)
        if ends == "handled":
            room.set()
            assert (await waiting).results == ["handled"]
            return
        if ends == "suspended":
            suspended.set()
            assert (await waiting).results == [True]
        else:
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        await asyncio.sleep(0)
        assert heard == ["cancelled"]

    asyncio.run(scenario())


def test_what_waits_is_taken_together_and_what_was_read_before_a_rebalance_is_not() -> None:
    """Up to the most that is wanted; while Faust has suspended the flow nothing is added to the first one."""

    async def scenario() -> None:
        flow = SimpleNamespace(is_active=lambda: True)
        app = SimpleNamespace(consumer_generation_id=2, flow_control=flow)
        events = [
            SimpleNamespace(message=SimpleNamespace(generation_id=generation, offset=offset))
            for offset, generation in enumerate((2, 1, 2, 2, 2))
        ]
        first, _old, second, third, fourth = events
        taken = together(cast(Any, app), StubStream(events), 3)
        assert await anext(taken) == [first, second, third]
        assert await anext(taken) == [fourth]
        stream = StubStream([first, second])
        flow.is_active = lambda: False
        assert await anext(together(cast(Any, app), stream, 3)) == [first]

    asyncio.run(scenario())
