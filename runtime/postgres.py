"""Connections to PostgreSQL: a sized pool per role, and what its errors mean.

Only SQLSTATE classes 22 and 23 speak of the data; everything else is waited out.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool, PoolTimeout

from runtime import metrics
from runtime.errors import RetryableError

DATA_CLASSES = frozenset({"22", "23"})
ACQUIRE_SECONDS = 5.0
SILENCE_MS = 10_000


class Database:
    """A pool of connections under the role's name; at most `max_size` of them, none held while the server is away."""

    def __init__(self, dsn: str, *, name: str, max_size: int = 4) -> None:
        self._pool = ConnectionPool(
            dsn,
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
            raise RetryableError(describe(error)) from None

    def ping(self) -> bool:
        """Return whether the database answers within a few seconds."""
        try:
            with self._pool.connection(timeout=3) as connection:
                connection.execute("select 1")
        except (psycopg.Error, PoolTimeout):
            return False
        return True


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
