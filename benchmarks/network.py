"""A network between client and server whose round trip takes as long as it is told to.

The fault proxy runs in a process of its own, so that it does not wait for the client's interpreter. What its own work
costs is taken off the delay, until a trivial question takes the wanted time.
"""

import multiprocessing
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe

import psycopg

from devtools.fault_proxy import FaultProxy

QUESTIONS = 300
PAYLOAD_MB = 8


@dataclass(frozen=True, kw_only=True)
class Network:
    """How a server is reached, the median time of `select 1`, and how fast a large parameter arrives."""

    dsn: str
    round_trip_ms: float
    mb_per_second: float


def direct(dsn: str) -> Network:
    """Return the server as it is reached without a proxy."""
    return Network(dsn=dsn, round_trip_ms=_round_trip(dsn) * 1e3, mb_per_second=_throughput(dsn))


@contextmanager
def distant(dsn: str, *, round_trip_ms: float) -> Iterator[Network]:
    """Give the server behind a proxy that makes a round trip last so long."""
    port = int(psycopg.conninfo.conninfo_to_dict(dsn)["port"] or 0)
    context = multiprocessing.get_context("spawn")
    pipe, end = context.Pipe()
    proxy = context.Process(target=_serve, args=(port, end), daemon=True)
    proxy.start()
    try:
        there = psycopg.conninfo.make_conninfo(dsn, port=pipe.recv())
        delay = 0.0
        for _ in range(5):
            pipe.send(delay)
            pipe.recv()
            delay = max(0.0, delay + round_trip_ms / 1e3 - _round_trip(there))
        yield direct(there)
    finally:
        pipe.close()
        proxy.join(10)


def _serve(port: int, pipe: Pipe) -> None:
    """Run the proxy and delay as the other end of the pipe says, until it is closed."""
    with FaultProxy("127.0.0.1", port) as proxy:
        pipe.send(proxy.port)
        while True:
            try:
                proxy.delay(pipe.recv())
            except EOFError:
                return
            pipe.send(None)


def _round_trip(dsn: str) -> float:
    with psycopg.connect(dsn, autocommit=True) as connection:
        return statistics.median(_seconds(connection, "select 1") for _ in range(QUESTIONS))


def _throughput(dsn: str) -> float:
    payload = "x" * (PAYLOAD_MB * 2**20)
    with psycopg.connect(dsn, autocommit=True) as connection:
        return PAYLOAD_MB / min(_seconds(connection, "select length(%s)", payload) for _ in range(3))


def _seconds(connection: "psycopg.Connection[psycopg.rows.TupleRow]", question: str, *parameters: str) -> float:
    begin = time.perf_counter()
    connection.execute(question.encode(), parameters)
    return time.perf_counter() - begin
