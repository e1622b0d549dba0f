"""`callstream task analyze` as a person types it: what it asks for, what it waits for, and what it refuses."""

import subprocess
import threading
from collections.abc import Callable, Sequence
from subprocess import CompletedProcess

import pytest

from devtools.processes import wait_until
from schemas.topics import TASK_ANALYSIS_REQUESTED
from tests.fixtures.command import arguments, command_environment
from tests.fixtures.shells import Rows
from tests.fixtures.topics import read_events

Analyze = Callable[..., CompletedProcess[str]]


@pytest.fixture
def analyze(topics: str, rows: Rows) -> Analyze:
    """The command, and a task with three finished calls and one that is not."""
    for number, status in enumerate(("Succeeded", "Failed", "Succeeded", "Executing")):
        rows.execute(
            "insert into leads_task_list (task_id, leads_id, leads_name, leads_phone, reference_id, call_job_id,"
            " call_status) values ('task-1', %s, 'n', '1', %s, %s, %s)",
            *(f"lead-{number}", f"ref-{number}", f"job-{number}", status),
        )

    def run(*words: str) -> CompletedProcess[str]:
        env = command_environment(topics) | {"CALLSTREAM_POSTGRES_DSN": rows.dsn}
        command = arguments("task", "analyze", *words)
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)

    return run


def follow_up(rows: Rows, jobs: Sequence[int], analyzer: str = "rules") -> None:
    """Write records as the sink does."""
    for job in jobs:
        rows.execute(
            "insert into leads_follow (leads_follow_id, leads_id, task_id, call_job_id, summary, is_interested,"
            " analyzer, follow_time) values (%s, %s, 'task-1', %s, 's', 0, %s, now())"
            " on conflict (call_job_id) do update set analyzer = excluded.analyzer, updated_at = now()",
            *(f"follow-{job}", f"lead-{job}", f"job-{job}", analyzer),
        )


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("task-2",), "task-2"),
        (("task-1", "--job", "stranger", "--job", "job-0"), "stranger"),
        (("task-1", "--job", "job-3", "--wait"), "job-3"),
    ],
)
def test_what_has_not_finished_or_is_not_known_is_named_and_nothing_is_asked_for(
    analyze: Analyze, topics: str, words: Sequence[str], named: str
) -> None:
    """One sentence, exit 1; a request that finds half of what was named would look as if it found all."""
    done = analyze(*words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert named in done.stderr
    assert not read_events(topics, TASK_ANALYSIS_REQUESTED)


def test_an_id_that_is_none_is_wrong_usage(analyze: Analyze, topics: str) -> None:
    """Exit 2 before anything is asked for; the request would become a dead letter."""
    assert analyze("task-1", "--job", "x" * 129).returncode == 2
    assert not read_events(topics, TASK_ANALYSIS_REQUESTED)


def test_waiting_ends_when_every_record_is_newer_than_the_request(analyze: Analyze, topics: str, rows: Rows) -> None:
    """Records from before do not count; where nobody could analyse the command says so and fails."""
    follow_up(rows, range(3))
    results: list[CompletedProcess[str]] = []
    waiting = threading.Thread(
        target=lambda: results.append(analyze("task-1", "--job", "job-0", "--job", "job-2", "--wait"))
    )
    waiting.start()
    wait_until(lambda: bool(read_events(topics, TASK_ANALYSIS_REQUESTED)), seconds=30, what="the request")
    follow_up(rows, [0])
    waiting.join(1)
    assert waiting.is_alive()
    follow_up(rows, [2])
    waiting.join(30)
    [done] = results
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "done")
    assert "2/2" in done.stderr
    [request] = read_events(topics, TASK_ANALYSIS_REQUESTED)
    assert request.call_job_ids == ("job-0", "job-2")

    waiting = threading.Thread(target=lambda: results.append(analyze("task-1", "--wait")))
    waiting.start()
    wait_until(lambda: len(read_events(topics, TASK_ANALYSIS_REQUESTED)) == 2, seconds=30, what="the request")
    follow_up(rows, [0, 1])
    follow_up(rows, [2], "unavailable/qwen-plus")
    waiting.join(30)
    assert results[1].returncode == 1
    assert "1 of 3 calls could not be analysed" in results[1].stderr
