"""When a task is looked at and what is listed then."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from producers.schedule import (
    AGAIN,
    ASLEEP,
    LONGEST_BACK_OFF,
    SETTLING,
    Census,
    Lease,
    PollPolicy,
    back_off,
    counts_agree,
    decide,
    is_done,
    next_look,
)
from schemas.ids import JobGroupId, TaskId

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
POLICY = PollPolicy(shortest=5 * SECOND, longest=300 * SECOND)


def lease(**changes: Any) -> Lease:
    """A task that is being called and was listed ten seconds ago."""
    fields: dict[str, Any] = {
        "task_id": TaskId("task-1"),
        "job_group_id": JobGroupId("group-1"),
        "state": "calling",
        "observed_at": NOW,
        "listed_at": NOW - 10 * SECOND,
        "repair_requested": False,
        "owner": "me",
        "due_at": NOW + 20 * SECOND,
    }
    return Lease(**fields | changes)


def census(unassigned: int = 0, *, settled: float | None = None, **jobs: int) -> Census:
    """The counts of a task; `settled` is how many seconds ago the first call ended that was not seen since."""
    first = None if settled is None else NOW - settled * SECOND
    counted: dict[str | None, int] = dict(jobs.items())
    return Census(unassigned=unassigned, jobs=counted, first_settled_at=first)


@pytest.mark.parametrize(
    ("counts", "total", "agrees"),
    [
        ({"Scheduling": 2, "Executing": 1, "Paused": 0, "Failed": 0, "Cancelled": 0}, 4, True),
        ({"Scheduling": 1, "Executing": 2, "Paused": 0, "Failed": 0, "Cancelled": 0}, 4, False),
        ({"Scheduling": 2, "Executing": 1}, 5, False),
        ({"Scheduling": 2, "Executing": 1, "Duration": 77}, 4, True),
    ],
)
def test_counts_are_compared_by_every_status_that_the_cloud_names(
    counts: dict[str, int], total: int, *, agrees: bool
) -> None:
    """Jobs that the cloud does not know are not counted, nor are its other numbers."""
    assert counts_agree(census(Scheduling=2, Executing=1, Succeeded=1, NotExist=3), counts, total) is agrees


def test_a_row_without_a_status_agrees_with_no_count() -> None:
    """A job that was just assigned has no status yet, so it is listed."""
    assert not counts_agree(Census(unassigned=0, jobs={None: 1}), {"Scheduling": 1}, 1)


@pytest.mark.parametrize(
    ("task", "rows", "agrees", "must_list"),
    [
        (lease(), census(Scheduling=1), True, False),
        (lease(), census(Scheduling=1), False, True),
        (lease(), census(Scheduling=1), None, True),
        (lease(listed_at=None), census(Scheduling=1), True, True),
        (lease(listed_at=NOW - 300 * SECOND), census(Scheduling=1), True, True),
        (lease(repair_requested=True), census(Succeeded=1), None, True),
        (lease(repair_requested=True), census(unassigned=1), None, False),
        (lease(), census(Succeeded=1), None, False),
        (lease(), census(Succeeded=1, settled=2), None, False),
        (lease(), census(Succeeded=1, settled=3), None, True),
        (lease(), census(unassigned=5), None, False),
    ],
)
def test_what_is_listed(task: Lease, rows: Census, *, agrees: bool | None, must_list: bool) -> None:
    """Nothing where the counts agree and the last listing is young; all of it otherwise."""
    assert decide(task, rows, POLICY, agrees=agrees).must_list is must_list


@pytest.mark.parametrize(
    ("task", "rows", "moving", "ended", "wait"),
    [
        (lease(), census(Scheduling=3), False, False, 10 * SECOND),
        (lease(), census(Scheduling=3), True, False, 5 * SECOND),
        (lease(), census(Paused=3), False, False, 15 * SECOND),
        (lease(), census(Executing=1), True, True, AGAIN),
        (lease(state="done"), census(Succeeded=3), False, False, ASLEEP + POLICY.longest),
        (lease(state=None), census(unassigned=3), False, False, ASLEEP + POLICY.longest),
        (lease(state="starting"), census(unassigned=3), False, False, 5 * SECOND),
        (lease(), census(Succeeded=3, settled=1), False, False, AGAIN - SECOND),
        (lease(), census(Succeeded=3, settled=9), False, False, SECOND),
    ],
)
def test_when_the_next_look_is_due(task: Lease, rows: Census, wait: timedelta, *, moving: bool, ended: bool) -> None:
    """Soon while calls run, less often while they wait, and not at all where nothing is open."""
    assert next_look(task, rows, POLICY, is_moving=moving, has_ended=ended) == wait


def test_open_jobs_are_never_further_away_than_the_longest_wait() -> None:
    """A short longest wait bounds the pace of paused tasks too."""
    short = PollPolicy(shortest=5 * SECOND, longest=6 * SECOND)
    assert next_look(lease(), census(Paused=3), short, is_moving=False, has_ended=False) == 6 * SECOND


def test_running_calls_are_seen_in_the_table_or_in_the_counts() -> None:
    """Either makes the task one whose calls run; a task without open jobs has none."""
    assert decide(lease(), census(Executing=1), POLICY, agrees=True).is_moving
    assert decide(lease(), census(Scheduling=1), POLICY, agrees=False).is_moving
    assert not decide(lease(), census(Scheduling=1), POLICY, agrees=True).is_moving
    assert not decide(lease(), census(Succeeded=1), POLICY, agrees=None).is_moving


def test_a_call_that_ended_is_listed_once_more_and_then_no_more() -> None:
    """The instants after and until which ends are listed again follow from the listings alone."""
    settled_at = NOW
    looks = [lease(listed_at=NOW - SECOND, observed_at=NOW + seconds * SECOND) for seconds in (1, 4)]
    looks.append(lease(listed_at=looks[-1].observed_at, observed_at=NOW + 8 * SECOND))
    listed = [look.settled_after < settled_at <= look.settled_until for look in looks]
    assert listed == [False, True, False]


def test_ends_of_a_task_that_was_never_listed_are_bounded() -> None:
    """Without a listing only ends of the last minutes are listed again."""
    assert lease(listed_at=None).settled_after == NOW - timedelta(minutes=10)


@pytest.mark.parametrize(
    ("task", "rows", "done"),
    [
        (lease(), census(Succeeded=2, Cancelled=1), True),
        (lease(), census(Succeeded=2, settled=1), False),
        (lease(), census(Succeeded=2, unassigned=1), False),
        (lease(), census(Succeeded=2, Paused=1), False),
        (lease(), census(), False),
        (lease(state="paused"), census(Succeeded=2), False),
        (lease(state="done"), census(Succeeded=2), False),
    ],
)
def test_when_a_task_is_done(task: Lease, rows: Census, *, done: bool) -> None:
    """Every lead has a job, every job ended and was seen since; only a task that is being called comes to its end."""
    assert is_done(task, rows) is done


def test_back_off_grows_to_a_minute_and_honours_what_the_cloud_asks_for() -> None:
    """The cloud's own word counts where it is longer."""
    waits = [back_off(failures, POLICY).total_seconds() for failures in range(1, 8)]
    assert waits == [5, 10, 20, 40, LONGEST_BACK_OFF, LONGEST_BACK_OFF, LONGEST_BACK_OFF]
    assert back_off(1, POLICY, retry_after=90) == 90 * SECOND
    assert back_off(1, POLICY, retry_after=1) == 5 * SECOND
    assert back_off(10_000, POLICY).total_seconds() == LONGEST_BACK_OFF
    assert SETTLING < AGAIN
