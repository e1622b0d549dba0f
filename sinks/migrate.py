"""Brings a database to the schema of this release: numbered SQL files, forward only, applied once by yoyo.

Two that migrate at once wait for each other by an advisory lock, which ends with its connection; yoyo's own lock is a
row that a killed process would leave behind.
"""

import os
from importlib import resources

import psycopg
from psycopg.conninfo import conninfo_to_dict
from yoyo import read_migrations
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.connections import DatabaseURI

ADVISORY_LOCK = 0x63616C6C  # "call"


def migrate(dsn: str) -> list[str]:
    """Apply what is missing and return its names; a migration that fails raises psycopg.Error and leaves no trace."""
    os.environ.setdefault("USERNAME", "callstream")  # yoyo's log wants a name, and a container's user may have none
    folder = resources.files("sinks").joinpath("migrations")
    with psycopg.connect(dsn, autocommit=True) as guard, resources.as_file(folder) as path, _backend(dsn) as backend:
        guard.execute("select pg_advisory_lock(%s)", (ADVISORY_LOCK,))
        backend.init_database()
        backend.break_lock()
        with backend.lock():
            missing = backend.to_apply(read_migrations(str(path)))
            backend.apply_migrations(missing)
        return [migration.id for migration in missing]


def pending(dsn: str) -> list[str]:
    """Return the names of the migrations that a database lacks; changes nothing."""
    folder = resources.files("sinks").joinpath("migrations")
    with psycopg.connect(dsn, autocommit=True, application_name="callstream-migrate") as connection:
        known: set[str] = set()
        if connection.execute("select to_regclass('_yoyo_migration')").fetchone() != (None,):
            known = {row[0] for row in connection.execute("select migration_id from _yoyo_migration")}
    names = sorted(file.name.removesuffix(".sql") for file in folder.iterdir() if file.name.endswith(".sql"))
    return [name for name in names if name not in known]


def _backend(dsn: str) -> PostgresqlPsycopgBackend:
    """Return yoyo's backend on any DSN that libpq parses, not only on URLs."""
    arguments = {**conninfo_to_dict(dsn), "application_name": "callstream-migrate"}
    uri = DatabaseURI("postgresql+psycopg", None, None, None, None, None, arguments)
    return PostgresqlPsycopgBackend(uri, "_yoyo_migration")
