"""What the command says to wrong words and to nobody: one line, or none, and never a traceback."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.fixtures.command import Command

NOWHERE = "127.0.0.1:1"
ODD_ID = b"\xff".decode(errors="surrogateescape")


@pytest.mark.parametrize(
    "words",
    [
        ("task", "show", ""),
        ("task", "show", "x" * 129),
        ("task", "show", ODD_ID),
        ("task", "analyze", "t", "--job", ""),
        ("task", "analyze", "t", "--job", "j", "--job", "x" * 129),
        ("recording", ""),
        ("recording", ODD_ID),
        ("leads", "import", f"/{ODD_ID}", "--task", "t"),
    ],
)
def test_an_id_that_is_none_is_wrong_usage(callstream: Callable[[str], Command], words: tuple[str, ...]) -> None:
    """Status 2 and a line, before anything is connected to or sent."""
    ended = callstream(NOWHERE)(*words)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)


def test_an_error_is_one_line_although_libraries_would_say_more(
    callstream: Callable[[str], Command], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pool that gets no connection warns of each try, and a cloud that refuses is an error in a role's log."""
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "2")
    monkeypatch.setenv("PGHOST", "127.0.0.1")
    monkeypatch.setenv("PGPORT", "1")
    ended = callstream(NOWHERE)("check", "--json")
    assert (ended.returncode, ended.stderr) == (1, "")
    assert set(json.loads(ended.stdout.splitlines()[-1])["problems"]) == {"kafka", "postgres", "cloud"}
    ended = callstream(NOWHERE)("task", "pause", "t")
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1)


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    """As with `callstream task list | head -1`."""
    reader, writer = os.pipe()
    os.close(reader)
    program = "import cli.main, typer; cli.main.app = lambda **_: typer.echo('x'); cli.main.main()"
    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (1, "")


@pytest.mark.parametrize(("command", "status"), [("run", 0), ("demo", -signal.SIGTERM)])
def test_only_run_is_done_when_it_is_told_to_end_before_it_has_begun(command: str, status: int) -> None:
    """An orchestrator that stops what it has just started sees a clean end."""
    program = f"import sys; sys.argv = ['callstream', '{command}']; import cli, os; os.kill(os.getpid(), 15)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == status


def test_no_command_waits_for_the_libraries_of_others() -> None:
    """Faust and the cloud's SDK are a second of each start, and most of what the supervisor would hold for ever."""
    program = "import cli.main, sys; print({'faust', 'alibabacloud_outboundbot20191226'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, timeout=60, check=True)
    assert found.stdout == "set()\n"
