"""The embedded PostgreSQL: databases, the log of statements, kill and restart, nothing left."""

import os
from pathlib import Path
from uuid import uuid4

import psutil
import psycopg
import pytest

from devtools import postgres
from devtools.postgres import EmbeddedPostgres
from devtools.processes import MissingTool
from tests.fixtures.postgres import log_mark, statements


def test_database_is_a_copy_of_its_template(postgres_server: EmbeddedPostgres) -> None:
    """A database made from a template has its tables and rows, and can be dropped while somebody is connected."""
    template, copy = f"template_{uuid4().hex}", f"copy_{uuid4().hex}"
    with psycopg.connect(postgres_server.create_database(template)) as connection:
        connection.execute("CREATE TABLE seed AS SELECT '你好' AS word")
    connection.close()
    with psycopg.connect(postgres_server.create_database(copy, template)) as connection:
        assert connection.execute("SELECT word FROM seed").fetchone() == ("你好",)
        connection.commit()
        postgres_server.drop_database(copy)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    postgres_server.drop_database(template)


def test_statements_of_one_application_since_a_mark(postgres_server: EmbeddedPostgres) -> None:
    """The helper tells one application's statements from another's, whole, without parameters, since the mark."""
    dsn = postgres_server.dsn()
    mine, other = (psycopg.connect(dsn, application_name=name, autocommit=True) for name in ("mine", "other"))
    with mine, other:
        mine.execute("SELECT 'before'")
        mark = log_mark(postgres_server)
        other.execute("SELECT 'other'")
        mine.execute("SELECT %s::int,\n\n\t'a|b: c'", ("7",))
        for _ in range(2):
            mine.execute("SELECT %s::text", ("secret",), prepare=True)
        with pytest.raises(psycopg.errors.DivisionByZero):
            mine.execute("SELECT 1 / 0")
        with mine.transaction():
            mine.execute("SELECT 2")
        assert statements(postgres_server, "mine", mark) == [
            "SELECT $1::int,\n\n\t'a|b: c'",
            "SELECT $1::text",
            "SELECT $1::text",
            "SELECT 1 / 0",
            "BEGIN",
            "SELECT 2",
            "COMMIT",
        ]
    assert "secret" not in postgres_server.log_path.read_text()


def test_killed_server_comes_back_with_every_commit() -> None:
    """A commit that was answered survives kill(), at the same address; connections do not."""
    with EmbeddedPostgres() as server:
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS number")
            server.kill()
            assert server.pid is None
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")
        server.start()
        with psycopg.connect(server.dsn()) as connection:
            assert connection.execute("SELECT number FROM kept").fetchone() == (1,)


def test_nothing_is_left_after_an_error() -> None:
    """Neither a process nor a folder stays when the block fails."""
    folders, processes = list[Path](), list[psutil.Process]()

    def fail() -> None:
        with EmbeddedPostgres() as server:
            folders.append(server.log_path.parent)
            postmaster = psutil.Process(server.pid)
            processes.extend([postmaster, *postmaster.children()])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert len(processes) > 1
    assert not any(process.is_running() for process in processes)
    assert not folders[0].exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root must become somebody else")
def test_root_runs_a_copy_where_the_account_cannot_read_the_wheel(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Binaries below a folder that is closed to others, such as root's home, are copied and run from there."""
    package = postgres._installed().parent
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for name in (package.name, f"{package.name}.libs"):
        (closed / name).symlink_to(package.with_name(name))
    monkeypatch.setattr(postgres, "_installed", lambda: closed / package.name / "pginstall18")
    with EmbeddedPostgres() as server, psycopg.connect(server.dsn()) as connection:
        assert server.pid is not None
        assert psutil.Process(server.pid).exe().startswith(str(server.log_path.parent))
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_missing_wheel_is_said_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever lacks the package learns what to install."""
    monkeypatch.setattr(postgres, "find_spec", lambda _: None)
    with pytest.raises(MissingTool, match=r"install callstream\[demo\]"), EmbeddedPostgres():
        pass
