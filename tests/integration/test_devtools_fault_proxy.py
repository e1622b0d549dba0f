"""The fault proxy between a client and an echo server."""

import socket
import socketserver
import threading
import time
from collections.abc import Iterator

import pytest

from devtools.fault_proxy import FaultProxy


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        try:
            while data := self.request.recv(65_536):
                self.request.sendall(data)
        except ConnectionError:
            pass


class _EchoServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    """A proxy in front of a server that answers what it was sent."""
    with _EchoServer(("127.0.0.1", 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        with FaultProxy("127.0.0.1", server.server_address[1]) as proxy:
            yield proxy
        server.shutdown()
        thread.join()


@pytest.fixture
def client(proxy: FaultProxy) -> Iterator[socket.socket]:
    """A client that is connected through the proxy."""
    with _connect(proxy) as client:
        assert _ask(client, b"hello") == b"hello"
        yield client


def _connect(proxy: FaultProxy) -> socket.socket:
    return socket.create_connection((proxy.host, proxy.port), timeout=5)


def _ask(client: socket.socket, data: bytes) -> bytes:
    client.sendall(data)
    return _receive(client, len(data))


def _receive(client: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size and (data := client.recv(65_536)):
        got += data
    return got


def test_passes_large_data_and_the_end(client: socket.socket) -> None:
    """Everything arrives in order, and a half-closed connection still gets its answer and its end."""
    data = bytes(range(256)) * 20_000
    writer = threading.Thread(target=client.sendall, args=(data,))
    writer.start()
    assert _receive(client, len(data)) == data
    writer.join()
    client.shutdown(socket.SHUT_WR)
    assert client.recv(1) == b""


def test_delay_is_added_to_a_round_trip(proxy: FaultProxy, client: socket.socket) -> None:
    """A round trip takes the delay longer, and passing through again takes it back."""
    proxy.delay(0.3)
    begin = time.monotonic()
    _ask(client, b"slow")
    assert 0.3 <= time.monotonic() - begin < 0.6
    proxy.pass_through()
    begin = time.monotonic()
    _ask(client, b"fast")
    assert time.monotonic() - begin < 0.2


def test_a_delay_of_a_millisecond_is_one(proxy: FaultProxy, client: socket.socket) -> None:
    """Short delays are kept too: the quickest of many round trips takes hardly longer than it was told to."""
    proxy.delay(0.001)
    durations = []
    for _ in range(100):
        begin = time.monotonic()
        _ask(client, b"quick")
        durations.append(time.monotonic() - begin)
    assert 0.001 <= min(durations) < 0.0018


def test_cut_resets_and_refuses(proxy: FaultProxy, client: socket.socket) -> None:
    """A cut resets what is open and refuses what is new, until it passes through again on the same port."""
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    with pytest.raises(ConnectionRefusedError):
        _connect(proxy)
    proxy.pass_through()
    with _connect(proxy) as again:
        assert _ask(again, b"again") == b"again"


def test_stall_accepts_and_says_nothing(proxy: FaultProxy, client: socket.socket) -> None:
    """Old and new connections stay open without an answer; what was sent meanwhile is answered afterwards."""
    proxy.stall()
    client.settimeout(0.2)
    client.sendall(b"anybody")
    with _connect(proxy) as late:
        late.settimeout(0.2)
        late.sendall(b"there")
        for silent in (client, late):
            with pytest.raises(TimeoutError):
                silent.recv(1)
        proxy.pass_through()
        assert _receive(client, 7) == b"anybody"
        assert _receive(late, 5) == b"there"


def test_cut_after_bytes_counts_one_direction(proxy: FaultProxy, client: socket.socket) -> None:
    """So many bytes of the answer arrive, and then the connection is reset."""
    proxy.cut_after_bytes(4, toward="client")
    client.sendall(b"abcdefgh")
    assert client.recv(8) == b"abcd"
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert proxy.wait_cut(1)


def test_nothing_is_left_while_clients_are_connected(proxy: FaultProxy, client: socket.socket) -> None:
    """A stalled proxy with open connections ends at once, with its thread."""
    proxy.stall()
    client.sendall(b"never answered")
    proxy.__exit__(None, None, None)
    assert "fault-proxy" not in {thread.name for thread in threading.enumerate()}
    with pytest.raises(ConnectionRefusedError):
        _connect(proxy)
    proxy.__enter__()  # the fixture ends it


def test_abandoned_connections_stay_silent_while_new_ones_work(proxy: FaultProxy, client: socket.socket) -> None:
    """For ever: not even passing through brings them back."""
    proxy.abandon()
    client.settimeout(0.2)
    with pytest.raises(TimeoutError):
        _ask(client, b"anybody?")
    with _connect(proxy) as other:
        assert _ask(other, b"hello") == b"hello"
    proxy.pass_through()
    with pytest.raises(TimeoutError):
        client.recv(1)
