"""Connections to PostgreSQL: a sized pool per role, and what its errors mean.

Only SQLSTATE classes 22 and 23 speak of the data; everything else is waited out.

Nothing waits for ever. A peer whose kernel is gone is noticed by TCP within 10 s. A path that acknowledges packets and
forwards nothing (a hung proxy, a frozen server) is not, so each side has a limit of its own: the server ends a
statement, or a transaction whose client is silent, after 20 s and lets its locks go; the client closes a connection
that has not answered for 25 s. The server's limit is the shorter one: where it can still speak, it says why.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import psycopg
from psycopg import Connection
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool, PoolTimeout

from runtime import metrics
from runtime.errors import RetryableError
from runtime.sql import statement

R = TypeVar("R")

DATA_CLASSES = frozenset({"22", "23"})
ACQUIRE_SECONDS = 5.0
SILENCE_MS = 10_000
STATEMENT_MS = 20_000
ANSWER_SECONDS = 25.0
PING_SECONDS = 3.0
LOOK_SECONDS = 0.1


class NoAnswerError(psycopg.OperationalError):
    """The server did not answer in time; what it was asked may be done or not."""


class ImpatientConnection(Connection[TupleRow]):
    """A connection that closes itself where the server does not answer within `patience` seconds."""

    patience = ANSWER_SECONDS

    def wait(self, gen: PQGen[R], interval: float = LOOK_SECONDS, timeout: float | None = None) -> R:
        """Wait as the library does, for at most `patience`; raises NoAnswerError then."""
        try:
            return super().wait(gen, interval, self.patience if timeout is None else timeout)
        except psycopg.OperationalError as error:
            if self.pgconn.transaction_status != TransactionStatus.ACTIVE:
                raise
            self.close()  # the answer may still come, and would be taken for the next statement's
            raise NoAnswerError(f"no answer within {self.patience:g} s") from error


class Database:
    """A pool of connections under the role's name; at most `max_size` of them, none held while the server is away.

    With `is_steady` the server plans a statement without looking at its parameters: for statements over arrays, of
    which it would guess from their length that reading the whole table were the faster way to find their rows.
    """

    def __init__(self, dsn: str, *, name: str, max_size: int = 4, is_steady: bool = False) -> None:
        self._pool = ConnectionPool(
            dsn,
            connection_class=ImpatientConnection,
            configure=partial(_guard, plans="force_generic_plan" if is_steady else "auto"),
            min_size=0,
            max_size=max_size,
            open=False,
            timeout=ACQUIRE_SECONDS,
            kwargs={
                "application_name": f"callstream-{name}",
                "connect_timeout": 3,
                "tcp_user_timeout": SILENCE_MS,
                "keepalives_idle": 5,
                "keepalives_interval": 2,
            },
            reconnect_timeout=ACQUIRE_SECONDS,
        )

    def open(self) -> None:
        """Begin to hand out connections; does not wait for the server."""
        self._pool.open(wait=False)

    def close(self) -> None:
        """Give all connections back to the server."""
        self._pool.close()

    @contextmanager
    def transaction(self) -> Iterator[Connection[TupleRow]]:
        """Give a connection inside a transaction that commits at the end and rolls back on an exception.

        Raises RetryableError for whatever is not the data's fault; errors of classes 22 and 23 pass as they are.
        """
        try:
            with self._pool.connection() as connection, connection.transaction():
                yield connection
        except PoolTimeout as error:
            metrics.DATABASE_ERRORS.labels("08").inc()
            raise RetryableError("the database does not answer") from error
        except psycopg.Error as error:
            metrics.DATABASE_ERRORS.labels(class_of(error)).inc()
            if is_about_data(error):
                raise
            if isinstance(error, NoAnswerError | psycopg.errors.ReadOnlySqlTransaction):
                # The others go the same way. Each would be waited for; or leads to a server that is the primary no
                # more, as long as it lives, while a new one finds who is.
                self._pool.drain()
            raise RetryableError(describe(error)) from None

    def ping(self) -> bool:
        """Return whether the database answers within a few seconds."""
        try:
            with self._pool.connection(timeout=PING_SECONDS) as connection:
                connection.patience = PING_SECONDS
                try:
                    connection.execute("select 1")
                    connection.rollback()
                finally:
                    connection.patience = ANSWER_SECONDS
        except (psycopg.Error, PoolTimeout):
            return False
        return True


def _guard(connection: ImpatientConnection, *, plans: str) -> None:
    limits = {"statement_ms": str(STATEMENT_MS), "silence_ms": str(STATEMENT_MS), "plans": plans}
    connection.execute(statement("runtime", "guard_session"), limits)
    connection.commit()


def class_of(error: psycopg.Error) -> str:
    """Return the class of an error's SQLSTATE; `08` where the connection itself failed."""
    return (error.sqlstate or "08")[:2]


def is_about_data(error: psycopg.Error) -> bool:
    """Return whether the server refused the data, so that the same statement will fail again."""
    return class_of(error) in DATA_CLASSES


def describe(error: psycopg.Error) -> str:
    """Return SQLSTATE and primary message; DETAIL and CONTEXT quote rows and are left out."""
    if error.diag.message_primary is None:
        # An operational error without a server's message is the client's own word, of the connection and of no row.
        return " ".join(str(error).split()) if isinstance(error, psycopg.OperationalError) else type(error).__name__
    return f"{error.sqlstate}: {error.diag.message_primary}"
