"""A day of calls as the cloud lives it, and a table that learns of it late; nothing here reads a clock.

Seconds count from the evening before, when the tasks are created. A job is called in working hours only, at most twice.
"""

import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from typing import Any

from producers.cloud.payloads import StoredJob
from producers.paging import PAGE_SIZE, OpenRow
from producers.schedule import CLOUD_ZONE, Census, Lease, Scope
from schemas.ids import CallJobId, ReferenceId, TaskId
from schemas.instants import to_milliseconds
from schemas.jobs import ENDED_STATUSES

CREATED = datetime(2026, 11, 22, 20, 0, tzinfo=CLOUD_ZONE)
DAY = 86_400.0
HOURS = ((time(9), time(12)), (time(14), time(18)))
OPENINGS = ((13 * 3600.0, 16 * 3600.0), (18 * 3600.0, 22 * 3600.0))
"""The same in seconds after the creation."""
ANSWERED = 0.4
REST = 1_800.0


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One call."""

    start: float
    end: float
    answered: bool


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job with its one or two calls."""

    job_id: CallJobId
    attempts: tuple[Attempt, ...]

    def status(self, at: float) -> str:
        """What the cloud shows at an instant."""
        last = self.attempts[-1]
        if at >= last.end:
            return "Succeeded" if last.answered else "Failed"
        return "Executing" if any(attempt.start <= at < attempt.end for attempt in self.attempts) else "Scheduling"

    def payload(self, at: float) -> dict[str, Any]:
        """The job as ListJobs spells it at an instant."""
        tasks = [
            {
                "TaskId": f"{self.job_id}-{number}",
                "PlanedTime": milliseconds(attempt.start),
                "ActualTime": milliseconds(attempt.start),
                "CallingNumber": "057126883106",
                "Duration": int(attempt.end - attempt.start) if at >= attempt.end else None,
            }
            for number, attempt in enumerate(self.attempts)
            if attempt.start <= at
        ]
        return {"JobId": self.job_id, "Status": self.status(at), "Tasks": tasks}


class Group:
    """The jobs of a task in the cloud, with counts that cost no walk through them."""

    def __init__(self, task_id: TaskId, jobs: Sequence[Job]) -> None:
        self.task_id = task_id
        self.jobs = {job.job_id: job for job in jobs}
        attempts = [attempt for job in jobs for attempt in job.attempts]
        self._starts = sorted(attempt.start for attempt in attempts)
        self._ends = sorted(attempt.end for attempt in attempts)
        lasts = [job.attempts[-1] for job in jobs]
        self._ended = sorted(last.end for last in lasts)
        self._failed = sorted(last.end for last in lasts if not last.answered)
        self._called = sorted((attempt.start, job.job_id) for job in jobs for attempt in job.attempts)

    def counts(self, at: float) -> dict[str, int]:
        """The statuses that DescribeJobGroup counts; it has no count of those that succeeded."""
        executing = bisect_right(self._starts, at) - bisect_right(self._ends, at)
        ended = bisect_right(self._ended, at)
        waiting = len(self.jobs) - executing - ended
        failed = bisect_right(self._failed, at)
        return {"Scheduling": waiting, "Executing": executing, "Paused": 0, "Failed": failed, "Cancelled": 0}

    def called(self, since: float, at: float) -> list[CallJobId]:
        """The jobs whose latest call began between two instants."""
        first, last = bisect_right(self._called, (since, "")), bisect_right(self._called, (at, "~"))
        return list(dict.fromkeys(CallJobId(job_id) for _, job_id in self._called[first:last]))


@dataclass
class Row:
    """What the table holds of a job."""

    job_id: CallJobId
    number: int
    status: str | None = None
    settled: float | None = None


@dataclass
class Table:
    """The rows of a task; what is written shows after the pipeline's delay."""

    task_id: TaskId
    rows: dict[CallJobId, Row]
    _late: list[tuple[float, CallJobId, str]] = field(default_factory=list)

    def write(self, shows_at: float, job_id: CallJobId, status: str) -> None:
        """Note a status that the row will show at an instant; instants do not go back."""
        self._late.append((shows_at, job_id, status))

    def census(self, lease: Lease, at: float) -> Census:
        """Count the rows as the poller's statement does."""
        self._catch_up(at)
        settled = [row.settled for row in self.rows.values() if row.settled is not None]
        after = seconds(lease.settled_after)
        return Census(
            unassigned=0,
            jobs=Counter(row.status for row in self.rows.values()),
            first_settled_at=min((instant(at) for at in settled if at > after), default=None),
            last_settled_at=max(map(instant, settled), default=None),
        )

    def select(self, lease: Lease, scope: Scope, named: Sequence[CallJobId]) -> list[OpenRow]:
        """Choose the rows to be listed as the poller's statement does."""
        wanted, after, until = set(named), seconds(lease.settled_after), seconds(lease.settled_until)
        chosen = []
        for row in self.rows.values():
            is_open = row.status not in ENDED_STATUSES
            is_moved = row.status in {None, "Executing"} or row.job_id in wanted
            is_settled = row.settled is not None and after < row.settled <= until
            if is_settled or (is_open and (scope is Scope.OPEN or (scope is Scope.MOVED and is_moved))):
                chosen.append(self._open_row(row))
        return chosen

    def _open_row(self, row: Row) -> OpenRow:
        stored = StoredJob(
            task_id=self.task_id,
            reference_id=ReferenceId(f"reference-{row.job_id}"),
            call_job_id=row.job_id,
            status_version=0,
            call_status=row.status,
        )
        return OpenRow(stored=stored, page=row.number // PAGE_SIZE)

    def _catch_up(self, at: float) -> None:
        shown = [late for late in self._late if late[0] <= at]
        self._late = [late for late in self._late if late[0] > at]
        for shows_at, job_id, status in shown:
            row = self.rows[job_id]
            row.status = status
            if status in ENDED_STATUSES and row.settled is None:
                row.settled = shows_at


def make_groups(tasks: int, jobs: int, seed: int = 7) -> list[Group]:
    """Return the same day for the same seed."""
    chance = random.Random(seed)
    return [
        Group(TaskId(f"task-{number}"), [_job(chance, f"job-{number:02d}-{job:05d}") for job in range(jobs)])
        for number in range(tasks)
    ]


def make_table(group: Group) -> Table:
    """Return the table of a task whose jobs were assigned a moment ago."""
    return Table(group.task_id, {job_id: Row(job_id, number) for number, job_id in enumerate(group.jobs)})


def instant(at: float) -> datetime:
    """Return the instant so many seconds after the creation, in whole milliseconds."""
    return CREATED + timedelta(milliseconds=int(at * 1000))


def seconds(moment: datetime) -> float:
    """Return how many seconds after the creation an instant is."""
    return (moment - CREATED).total_seconds()


def milliseconds(at: float) -> int:
    """Return an instant as the cloud spells it."""
    return to_milliseconds(instant(at))


def _job(chance: random.Random, name: str) -> Job:
    open_seconds = sum(end - begin for begin, end in OPENINGS)
    first = _attempt(chance, _at(chance.uniform(0, open_seconds - 2 * REST)))
    if first.answered:
        return Job(job_id=CallJobId(name), attempts=(first,))
    second = _attempt(chance, _at(chance.uniform(_worked(first.end + REST), open_seconds - 120)))
    return Job(job_id=CallJobId(name), attempts=(first, second))


def _attempt(chance: random.Random, start: float) -> Attempt:
    answered = chance.random() < ANSWERED
    lasts = chance.uniform(15, 90) if answered else chance.uniform(10, 35)
    return Attempt(start=start, end=start + lasts, answered=answered)


def _at(worked: float) -> float:
    """Return the instant after so many seconds of working hours."""
    for begin, end in OPENINGS:
        if worked < end - begin:
            return begin + worked
        worked -= end - begin
    raise ValueError("the day is over")


def _worked(at: float) -> float:
    """Return how many seconds of working hours lie before an instant."""
    return sum(min(max(at - begin, 0), end - begin) for begin, end in OPENINGS)
