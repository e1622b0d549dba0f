"""Brings a database to the schema of this release: numbered SQL files, forward only, applied once by yoyo.

Two that migrate at once wait for each other by an advisory lock, which ends with its connection; yoyo's own lock is a
row that a killed process would leave behind.
"""

from importlib import resources
from typing import Any

import psycopg
from yoyo import read_migrations
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.connections import parse_uri

ADVISORY_LOCK = 0x63616C6C  # "call"


class _Backend(PostgresqlPsycopgBackend):
    """yoyo on any DSN that libpq parses, not only on URLs."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        super().__init__(parse_uri("postgresql+psycopg:///"), "_yoyo_migration")

    def connect(self, _dburi: Any) -> psycopg.Connection[Any]:
        return psycopg.connect(self._dsn, autocommit=True, application_name="callstream-migrate")


def migrate(dsn: str) -> list[str]:
    """Apply what is missing and return its names; a migration that fails raises psycopg.Error and leaves no trace."""
    folder = resources.files("sinks").joinpath("migrations")
    with psycopg.connect(dsn, autocommit=True) as guard, resources.as_file(folder) as path, _Backend(dsn) as backend:
        guard.execute("select pg_advisory_lock(%s)", (ADVISORY_LOCK,))
        backend.init_database()
        backend.break_lock()
        with backend.lock():
            missing = backend.to_apply(read_migrations(str(path)))
            backend.apply_migrations(missing)
        return [migration.id for migration in missing]
