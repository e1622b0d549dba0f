"""When a task is looked at, and what is listed then. Pure: `now` is the instant that the lease drew.

The counts of the cloud's group are one cheap call; where they agree with the counts of the task's rows, and the open
jobs were listed lately, there is nothing to list. A call that just ended is listed once more some seconds after its
row showed the end, because the first answer may lack the last turns. A task without open jobs sleeps until somebody
asks for it, starts it again, or the discovery finds an open row.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from schemas.ids import JobGroupId, TaskId
from schemas.jobs import ENDED_STATUSES

EXECUTING: Final = "Executing"
PAUSED: Final = "Paused"
NOT_EXIST: Final = "NotExist"
COUNTED_STATUSES: Final = ("Scheduling", "Executing", "Paused", "Succeeded", "Failed", "Cancelled")
WORKING_STATES: Final = frozenset({"starting", "calling"})

SETTLING: Final = timedelta(seconds=3)
SETTLING_KNOWN: Final = timedelta(minutes=10)
AGAIN: Final = timedelta(seconds=4)
ASLEEP: Final = timedelta(days=1)
LONGEST_BACK_OFF: Final = 60.0
LONGEST_RETRY_AFTER: Final = 3_600.0


@dataclass(frozen=True, kw_only=True)
class PollPolicy:
    """The pace: how often a task with calls is looked at, and within what time all its open jobs are listed."""

    shortest: timedelta
    longest: timedelta


@dataclass(frozen=True, kw_only=True)
class Lease:
    """A task that this poller has for a while; `observed_at` grows with every lease of the task."""

    task_id: TaskId
    job_group_id: JobGroupId | None
    state: str | None
    observed_at: datetime
    listed_at: datetime | None
    repair_requested: bool
    owner: str
    due_at: datetime

    @property
    def settled_after(self) -> datetime:
        """Calls whose rows showed the end after this instant have not been listed since then."""
        earliest = self.observed_at - SETTLING_KNOWN
        return max(earliest, self.listed_at - SETTLING) if self.listed_at else earliest

    @property
    def settled_until(self) -> datetime:
        """Calls whose rows showed the end up to this instant may be listed for the last time."""
        return self.observed_at - SETTLING


@dataclass(frozen=True, kw_only=True)
class Census:
    """What the table holds of a task: rows without a job, jobs by status, and ends that were not looked at again."""

    unassigned: int
    jobs: Mapping[str | None, int]
    first_settled_at: datetime | None = None
    last_settled_at: datetime | None = None

    @property
    def total(self) -> int:
        """How many rows have a job."""
        return sum(self.jobs.values())

    @property
    def open(self) -> int:
        """How many jobs have not ended."""
        return sum(count for status, count in self.jobs.items() if status not in ENDED_STATUSES)

    @property
    def is_paused(self) -> bool:
        """Whether every open job waits for somebody to resume it."""
        return self.open == self.jobs.get(PAUSED, 0)


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a look at a task is to do: list its jobs or not; `is_moving` where the cloud's counts say that calls run."""

    must_list: bool
    is_moving: bool


def counts_agree(census: Census, counts: Mapping[str, int], total: int) -> bool:
    """Return whether the cloud counts as many jobs as the table holds, in all and by each status that it names.

    Jobs that the cloud does not know are not among its own; what it counts beside jobs by status is ignored.
    """
    known = census.total - census.jobs.get(NOT_EXIST, 0)
    by_status = ((status, counts[status]) for status in COUNTED_STATUSES if status in counts)
    return known == total and all(census.jobs.get(status, 0) == count for status, count in by_status)


def decide(lease: Lease, census: Census, policy: PollPolicy, *, agrees: bool | None) -> Look:
    """Return what to do; `agrees` is None where the group or its counts are unknown."""
    is_moving = census.open > 0 and (agrees is False or EXECUTING in census.jobs)
    settled_at = census.first_settled_at
    must_list = lease.repair_requested or (settled_at is not None and settled_at <= lease.settled_until)
    if census.open and not must_list:
        listed_at = lease.listed_at
        must_list = agrees is not True or listed_at is None or lease.observed_at - listed_at >= policy.longest
    return Look(must_list=must_list and census.total > 0, is_moving=is_moving)


def next_look(lease: Lease, census: Census, policy: PollPolicy, *, is_moving: bool, has_ended: bool) -> timedelta:
    """Return how long to wait until the next look, `is_moving` and `has_ended` as just seen."""
    waits = [ASLEEP + policy.longest]
    if census.first_settled_at is not None:
        waits.append(max(AGAIN - SETTLING, census.first_settled_at + AGAIN - lease.observed_at))
    if has_ended:
        waits.append(AGAIN)
    if is_moving:
        waits.append(policy.shortest)
    elif census.open:
        waits.append(policy.shortest * (3 if census.is_paused else 2))
    elif lease.state in WORKING_STATES:
        waits.append(policy.shortest)
    if census.open:
        waits.append(policy.longest)
    return min(waits)


def is_done(lease: Lease, census: Census) -> bool:
    """Return whether a started task has come to its end: every lead has a job, every job ended and was seen since."""
    is_over = census.total > 0 and not census.unassigned and not census.open
    return lease.state == "calling" and is_over and census.first_settled_at is None


def back_off(failures: int, policy: PollPolicy, *, retry_after: float | None = None) -> timedelta:
    """Return how long to wait after the `failures`-th failure in a row, at least what the cloud asked for."""
    grown = policy.shortest.total_seconds() * 2 ** min(failures - 1, 10)
    asked = min(retry_after or 0.0, LONGEST_RETRY_AFTER)
    return timedelta(seconds=max(asked, min(grown, LONGEST_BACK_OFF)))
