"""Connections to a real PostgreSQL: nothing waits for ever, on either side."""

import time
from collections.abc import Iterator

import psycopg
import pytest

from devtools.fault_proxy import FaultProxy
from devtools.processes import wait_until
from runtime.errors import RetryableError
from runtime.postgres import Database, ImpatientConnection


@pytest.fixture
def stalling(database: str) -> Iterator[tuple[Database, FaultProxy]]:
    """A pool behind a proxy that acknowledges whatever it is told to forward."""
    port = int(psycopg.conninfo.conninfo_to_dict(database)["port"] or 0)
    with FaultProxy("127.0.0.1", port) as proxy:
        pool = Database(database.replace(f":{port}/", f":{proxy.port}/"), name="test")
        pool.open()
        yield pool, proxy
        pool.close()


def test_a_stalled_statement_is_given_up_and_the_next_connection_works(
    stalling: tuple[Database, FaultProxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    """RetryableError after the patience, in the middle of a transaction and at its commit."""
    pool, proxy = stalling
    monkeypatch.setattr(ImpatientConnection, "patience", 0.5)
    for _ in ("statement", "commit"):
        began = time.monotonic()
        with pytest.raises(RetryableError, match="no answer within"), pool.transaction() as connection:  # noqa: PT012
            connection.execute("select 1")
            proxy.abandon()
            if _ == "statement":
                connection.execute("select 2")
        assert time.monotonic() - began < 5
        with pool.transaction() as connection:
            assert connection.execute("select 3").fetchone() == (3,)


def test_a_ping_through_a_stalled_connection_says_no_within_seconds(stalling: tuple[Database, FaultProxy]) -> None:
    """Readiness has to be lost within ten seconds."""
    pool, proxy = stalling
    assert pool.ping()
    proxy.abandon()
    began = time.monotonic()
    assert not pool.ping()
    assert time.monotonic() - began < 5
    assert pool.ping()


def test_the_server_lets_go_of_a_silent_clients_locks(
    database: str, stalling: tuple[Database, FaultProxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a lost client had locked is free again after the server's limit, and others need not wait for a person."""
    pool, proxy = stalling
    monkeypatch.setattr(ImpatientConnection, "patience", 0.5)
    monkeypatch.setattr("runtime.postgres.STATEMENT_MS", 1000)
    with pytest.raises(RetryableError), pool.transaction() as connection:  # noqa: PT012
        connection.execute("lock table leads_task_list")
        proxy.abandon()
        connection.execute("select 1")

    def is_free() -> bool:
        with psycopg.connect(database) as other:
            locks = "select count(*) from pg_locks where relation = 'leads_task_list'::regclass"
            return other.execute(locks).fetchone() == (0,)

    assert not is_free()
    wait_until(is_free, seconds=5, what="the lock is free")


def test_connections_to_a_server_that_may_only_be_read_are_given_up(database: str) -> None:
    """After a failover the old ones still work, on what is now a standby: only new ones can find the new primary."""
    pool = Database(database, name="test")
    pool.open()
    with pool.transaction() as first, pool.transaction() as second:
        for connection in (first, second):
            connection.execute("set default_transaction_read_only = on")
    with pytest.raises(RetryableError, match="25006"), pool.transaction() as connection:
        connection.execute("create table written ()")
    with pool.transaction() as first, pool.transaction() as second:
        first.execute("create table written ()")
        second.execute("create table written_too ()")
    pool.close()
