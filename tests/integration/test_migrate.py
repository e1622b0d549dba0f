"""Migrations on a real PostgreSQL: once, by whoever comes first, and what they make."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from devtools.postgres import EmbeddedPostgres
from sinks.mapping import STATUS_COLUMNS, FollowUpRow, LeadRow
from sinks.migrate import migrate, pending

SEED_COLUMNS = {
    "task_id", "leads_id", "leads_name", "leads_phone", "call_time", "call_job_id", "call_status", "planed_time",
    "call_task_id", "call_conversation", "calling_number", "recording_url", "leads_follow_id", "is_interested",
}  # fmt: skip


@pytest.fixture
def empty(postgres_server: EmbeddedPostgres) -> str:
    """The DSN of a database without any table."""
    return postgres_server.create_database(f"empty_{uuid4().hex[:8]}")


def test_two_that_migrate_at_once_apply_each_file_once(empty: str) -> None:
    """One waits for the other; a third time there is nothing to do."""
    names = sorted(file.stem for file in Path("sinks/migrations").glob("*.sql"))
    assert pending(empty) == names
    with ThreadPoolExecutor(2) as pool:
        applied = [name for each in pool.map(migrate, [empty, empty]) for name in each]
    assert applied == names
    assert migrate(empty) == []
    assert pending(empty) == []


def test_a_user_without_a_name_migrates(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster may run the image as a number that no file of it knows."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    assert migrate(empty)


def test_a_killed_migration_holds_nobody_up(empty: str) -> None:
    """The lock row that a killed process leaves behind is no lock."""
    migrate(empty)
    with psycopg.connect(empty) as connection:
        connection.execute("insert into yoyo_lock (locked, ctime, pid) values (1, now(), 99999)")
    assert migrate(empty) == []


def test_the_tables_have_the_columns_that_are_written_and_promised(database: str) -> None:
    """The contract's names, and every field of the row types."""
    with psycopg.connect(database) as connection:
        rows = connection.execute(
            "select table_name, column_name from information_schema.columns where table_schema = 'public'"
        ).fetchall()
        indexes = connection.execute("select indexdef from pg_indexes where tablename = 'leads_task_list'").fetchall()
    columns: dict[str, set[str]] = {}
    for table, column in rows:
        columns.setdefault(table, set()).add(column)
    written = set(LeadRow.__struct_fields__) | set(STATUS_COLUMNS) - {"version", "is_terminal"}
    assert columns["leads_task_list"] >= SEED_COLUMNS | written | {"id", "status_version", "follow_version"}
    assert columns["leads_follow"] >= set(FollowUpRow.__struct_fields__) - {"version", "analyzed_at"}
    assert not any("call_status" in definition for (definition,) in indexes)
