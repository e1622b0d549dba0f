"""A TCP proxy that can be told, at any moment and from any thread, how bad the network is.

One thread runs an event loop with two pumps per connection: one puts what it reads into a queue with the moment at
which it is due, the other writes it when that moment has come, so a delay costs time but not throughput. A mode
replaces the one before, and is in force when the method returns.
"""

import asyncio
import contextlib
import selectors
import socket
import struct
from collections.abc import Callable, Coroutine
from threading import Event, Thread
from types import TracebackType
from typing import Literal, Self

from devtools.processes import free_port

Toward = Literal["client", "target"]
_CHUNK = 65_536
_CHUNKS_IN_FLIGHT = 256


class FaultProxy:
    """Listens on 127.0.0.1 and forwards to the target, running inside the `with` block."""

    def __init__(self, target_host: str, target_port: int) -> None:
        self._target = (target_host, target_port)
        self.host = "127.0.0.1"
        self.port = free_port()
        self._delay = 0.0
        self._allowed: int | None = None
        self._counted: Toward | None = None
        self._cut = Event()
        self._flowing: asyncio.Event
        self._reserved: socket.socket
        self._server: asyncio.Server | None
        self._links: dict[asyncio.Task[None], list[asyncio.StreamWriter]] = {}

    # Modes

    def pass_through(self) -> None:
        """Forward everything at once, what was stalled included; the mode at the start. After a cut, listen again."""
        self._set(self._flow)

    def delay(self, seconds: float) -> None:
        """Forward everything so that a round trip takes `seconds` longer, half of it in each direction."""
        self._set(lambda: self._flow(delay=seconds))

    def stall(self) -> None:
        """Accept connections and keep the old ones, but forward nothing, not even that one end has gone."""
        self._set(self._hold)

    def abandon(self) -> None:
        """Forward nothing more, ever, on the connections of now, and keep them; new ones pass as before."""
        self._set(self._orphan)

    def cut(self) -> None:
        """Reset all connections and refuse new ones."""
        self._set(self._sever)

    def cut_after_bytes(self, count: int, toward: Toward | None = None) -> None:
        """Forward `count` more bytes, counted over all connections, both directions or one; the next does as `cut`.

        `cut_after_bytes(0, toward="client")` lets a request through, and loses its answer.
        """
        self._set(lambda: self._flow(allowed=count, counted=toward))

    def wait_cut(self, seconds: float) -> bool:
        """Wait until connections are cut; whether they are."""
        return self._cut.wait(seconds)

    # In the loop's thread

    async def _flow(self, *, delay: float = 0.0, allowed: int | None = None, counted: Toward | None = None) -> None:
        self._delay, self._allowed, self._counted = delay, allowed, counted
        self._flowing.set()
        await self._listen()

    async def _hold(self) -> None:
        self._delay, self._allowed = 0.0, None
        self._flowing.clear()
        await self._listen()

    async def _orphan(self) -> None:
        self._flowing.clear()
        self._flowing = asyncio.Event()
        self._flowing.set()

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._link, sock=self._reserved)
            self._cut.clear()

    async def _sever(self) -> None:
        ended = self._break()
        if ended:
            await asyncio.wait(ended)

    def _break(self) -> list[asyncio.Task[None]]:
        """Reset and refuse, without waiting. The port stays ours: bound, but nobody listens."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self._reserved = self._reserve()
        for link, writers in self._links.items():
            for writer in writers:
                _reset(writer)
            link.cancel()
        self._allowed = None
        self._cut.set()
        return list(self._links)

    def _reserve(self) -> socket.socket:
        reserved = socket.socket()
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind((self.host, self.port))
        return reserved

    def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = self._loop.create_task(self._relay(reader, writer))
        self._links[link] = [writer]
        link.add_done_callback(self._links.pop)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until both ends have said all, or one is broken."""
        writers = [writer]
        try:
            flowing = self._flowing
            await flowing.wait()
            answers, target = await asyncio.open_connection(*self._target)
            writers.append(target)
            if (this := asyncio.current_task()) is not None:
                self._links[this] = writers
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(reader, target, "target", flowing))
                pumps.create_task(self._pump(answers, writer, "client", flowing))
        except* OSError:
            for broken in writers:
                _reset(broken)
        finally:
            for done in writers:
                done.close()
                with contextlib.suppress(OSError):
                    await done.wait_closed()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, toward: Toward, flowing: asyncio.Event
    ) -> None:
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_CHUNKS_IN_FLIGHT)
        async with asyncio.TaskGroup() as halves:
            halves.create_task(self._receive(reader, queue))
            halves.create_task(self._deliver(queue, writer, toward, flowing))

    async def _receive(self, reader: asyncio.StreamReader, queue: asyncio.Queue[tuple[float, bytes]]) -> None:
        data = b"-"
        while data:
            data = await reader.read(_CHUNK)
            await queue.put((self._loop.time() + self._delay / 2, data))

    async def _deliver(
        self,
        queue: asyncio.Queue[tuple[float, bytes]],
        writer: asyncio.StreamWriter,
        toward: Toward,
        flowing: asyncio.Event,
    ) -> None:
        while True:
            due, data = await queue.get()
            await asyncio.sleep(max(0.0, due - self._loop.time()))
            await flowing.wait()
            if not data:
                writer.write_eof()
                return
            passed = self._admit(data, toward)
            writer.write(passed)
            if len(passed) < len(data):
                self._break()
                return
            await writer.drain()

    def _admit(self, data: bytes, toward: Toward) -> bytes:
        """What of the data may pass before the cut, if one was asked for."""
        if self._allowed is None or self._counted not in {None, toward}:
            return data
        passed = data[: self._allowed]
        self._allowed -= len(passed)
        return passed

    # The thread

    def _set(self, mode: Callable[[], Coroutine[None, None, None]]) -> None:
        asyncio.run_coroutine_threadsafe(mode(), self._loop).result(10)

    def __enter__(self) -> Self:
        """Listen, passing everything through."""
        self._reserved = self._reserve()
        self._loop = asyncio.SelectorEventLoop(selectors.SelectSelector())  # epoll rounds up to milliseconds
        self._flowing = asyncio.Event()
        self._server = None
        self._thread = Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._thread.start()
        self.pass_through()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Reset all connections, free the port, end the thread."""
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._reserved.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close so that the peer sees a reset, not an orderly end; what was not sent yet is dropped."""
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
