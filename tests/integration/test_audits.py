"""What the audits find in a real table, piece by piece, and what they ask for."""

from datetime import timedelta

import pytest

from producers.audits import RecordingAudit, TaskAudits, Walk
from producers.expander import Expander
from runtime.clock import SystemClock
from runtime.kafka import Publisher
from schemas.ids import TaskId
from schemas.topics import JOB_ANALYSIS_REQUESTED
from tests.fixtures.shells import Rows
from tests.fixtures.topics import read_events

TASK = TaskId("task-1")
MINUTE = timedelta(minutes=1)


def add_row(rows: Rows, number: int, status: str, *, minutes: float = 2, task: str = TASK) -> None:
    """A lead's row whose call ended so many minutes ago."""
    rows.execute(
        "insert into leads_task_list (task_id, leads_id, leads_name, leads_phone, reference_id, call_job_id,"
        " call_status, call_task_id, settled_at)"
        " values (%s, %s, 'n', '1', %s, %s, %s, %s, now() - make_interval(secs => %s))",
        *(task, f"lead-{number}", f"ref-{number}", f"job-{number}", status, f"call-{number}", minutes * 60),
    )


def next_round(rows: Rows) -> None:
    """Let the next piece be taken at once."""
    rows.execute("update audit_walks set walked_at = now() - interval '1 hour'")


class Watch(SystemClock):
    """A clock that is set forward by hand."""

    seconds = 0.0

    def monotonic(self) -> float:
        """Return what it was set to."""
        return self.seconds


@pytest.fixture
def watch() -> Watch:
    """What the audits go by."""
    return Watch()


@pytest.fixture
def audits(rows: Rows, publisher: Publisher, watch: Watch) -> TaskAudits:
    """The audits of tasks, on clean topics."""
    return TaskAudits(rows.pool, Expander(rows.pool, publisher, SystemClock()), 5 * MINUTE, watch)


def test_a_missing_follow_up_or_record_is_asked_for_again(
    rows: Rows, audits: TaskAudits, topics: str, watch: Watch
) -> None:
    """Finished for a minute without one, or with one whose record was deleted; without force, the same question.

    Less and less often: while a model is away, questions must not pile up before it.
    """
    add_row(rows, 1, "Succeeded")
    add_row(rows, 2, "Failed")
    add_row(rows, 3, "Succeeded", minutes=0.1)
    add_row(rows, 4, "Cancelled")
    add_row(rows, 5, "Failed")
    rows.execute(
        "update leads_task_list set leads_follow_id = 'f-' || call_job_id where call_job_id in ('job-2', 'job-5')"
    )
    rows.execute(
        "insert into leads_follow (leads_follow_id, leads_id, task_id, call_job_id, summary, is_interested, analyzer,"
        " follow_time) values ('f', 'lead-2', 'task-1', 'job-2', '', 0, 'rules', now())"
    )
    asked = [audits.audit(), audits.audit()]
    for seconds in (59, 61, 180, 182):
        next_round(rows)
        watch.seconds = seconds
        asked.append(audits.audit())
    assert asked == [2, 0, 0, 2, 0, 2]
    events = read_events(topics, JOB_ANALYSIS_REQUESTED)
    assert (
        sorted((event.call_job_id, event.is_forced) for event in events)
        == [("job-1", False)] * 3 + [("job-5", False)] * 3
    )
    assert len({event.event_id for event in events}) == 2


def test_where_nobody_could_analyse_is_asked_less_and_less_often(
    rows: Rows, audits: TaskAudits, topics: str, watch: Watch
) -> None:
    """Five minutes after the last try at the earliest, for a week; never for a verdict or a refusal."""
    cases = [
        ("unavailable/m", 60, 10), ("unusable/m", 60, 10), ("unavailable/m", 60, 4), ("unavailable/m", 8 * 1440, 10),
        ("qwen/1", 60, 10), ("rules", 60, 10), ("refused/m", 60, 10),
    ]  # fmt: skip
    for number, (analyzer, ended, tried) in enumerate(cases):
        add_row(rows, number, "Succeeded", minutes=ended)
        rows.execute("update leads_task_list set leads_follow_id = 'f' where call_job_id = %s", f"job-{number}")
        rows.execute(
            "insert into leads_follow (leads_follow_id, leads_id, task_id, call_job_id, summary, is_interested,"
            " analyzer, follow_time) values (%s, 'l', 't', %s, '', 0, %s, now() - make_interval(mins => %s))",
            *(f"f{number}", f"job-{number}", analyzer, tried),
        )
    asked = [audits.audit()]
    for seconds in (59, 61, 180, 182):
        next_round(rows)
        watch.seconds = seconds
        asked.append(audits.audit())
    assert asked == [2, 0, 2, 0, 2]
    events = read_events(topics, JOB_ANALYSIS_REQUESTED)
    assert {(event.call_job_id, event.is_forced) for event in events} == {("job-0", False), ("job-1", False)}


def test_a_task_with_an_open_job_is_due_whatever_its_state_says(rows: Rows, audits: TaskAudits) -> None:
    """A row opened again by hand, a task that nobody knows; those that are due soon, or have none open, stay."""
    for number, task in enumerate(["done", "unknown", "soon", "ended"]):
        add_row(rows, number, "Succeeded" if task == "ended" else "Scheduling", task=task)
    rows.execute(
        "insert into call_tasks (task_id, state, poll_due_at) values ('done', 'done', now() + interval '1 day'),"
        " ('soon', 'calling', now() + interval '4 minutes'), ('ended', 'done', now() + interval '1 day')"
    )
    audits.audit()
    due = rows.execute("select task_id from call_tasks where poll_due_at <= now() order by 1")
    assert due == [("done",), ("unknown",)]


def test_a_walk_covers_every_row_once_a_round_by_pieces(rows: Rows) -> None:
    """Whoever asks: pieces follow each other without a gap, and a round begins again behind the newest row."""
    rows.execute("select setval(pg_get_serial_sequence('leads_task_list', 'id'), 1000000)")
    add_row(rows, 1, "Failed")
    walks = [Walk(rows.pool, "test", 5 * MINUTE) for _ in range(2)]
    pieces = []
    for number in range(60):
        piece = walks[number % 2].take()
        assert piece is not None
        assert walks[1 - number % 2].take() is None
        pieces.append(piece)
        next_round(rows)
        if piece.upto >= 1_000_001:
            break
    assert [piece.after for piece in pieces] == [0, *(piece.upto for piece in pieces[:-1])]
    assert all(piece.upto - piece.after <= 16_667 for piece in pieces)
    again = walks[0].take()
    assert again is not None
    assert again.after == 0


def test_a_missing_recording_is_named_less_and_less_often(rows: Rows) -> None:
    """After 5, 10, 20, 40 minutes and so on for a day; only of answered calls that have none."""
    ages = [1, 6, 11, 16, 21, 26, 41, 46, 81, 161, 200, 321, 641, 1281, 1441, 3000]
    for number, age in enumerate(ages):
        add_row(rows, number, "Succeeded", minutes=age)
    add_row(rows, 100, "Failed", minutes=6)
    add_row(rows, 101, "Succeeded", minutes=6)
    rows.execute("update leads_task_list set recording_url = 'https://oss' where call_job_id = 'job-101'")
    named = {int(call.removeprefix("call-")) for _, call in RecordingAudit(rows.pool).take()}
    assert [ages[number] for number in sorted(named)] == [6, 11, 21, 41, 81, 161, 321, 641, 1281]
