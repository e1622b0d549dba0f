"""When a task is looked at, and what of it is listed then. Pure: `now` is the instant that the lease drew.

The counts of the cloud's group are one cheap call. Where they are those of the task's rows, nothing is listed. A new
difference has the jobs listed that a call can have moved: those whose rows show a call, and those that the cloud names
as called lately. A difference that outlives this has all open jobs listed, and one that outlives that as well is not
ours to settle (jobs of somebody else in the group, rows that the sink has not written yet): it is the baseline until
the counts move again. Only while the cloud's own counts stand still is a difference the same: else the end of one call
may hide behind the row of another, which came meanwhile. Besides, all open jobs are listed at the latest every
`longest`.

A task is looked at every `shortest` while calls run. Else the wait grows with the time that nothing has moved, up to
`longest`; outside of working hours it grows faster, and ends when they begin.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta, timezone
from enum import Enum
from typing import Final

import msgspec

from schemas.ids import JobGroupId, TaskId
from schemas.jobs import ENDED_STATUSES

EXECUTING: Final = "Executing"
COUNTED_STATUSES: Final = ("Scheduling", "Executing", "Paused", "Succeeded", "Failed", "Cancelled")
UNCALLED_STATUSES: Final = frozenset({"Paused", "Cancelled"})
"""What people make of jobs: no call moves one there, so nothing but a whole listing names them."""
WORKING_STATES: Final = frozenset({"starting", "calling"})

CLOUD_ZONE: Final = timezone(timedelta(hours=8))
"""Working hours are Beijing time; elsewhere they are only taken for later or earlier, which costs `longest` a day."""
SMALL: Final = 2 * 99
"""Up to so many open jobs a whole listing costs no more calls than naming and listing those that moved."""
QUIET_PARTS: Final = 30
SETTLING: Final = timedelta(seconds=3)
SETTLING_KNOWN: Final = timedelta(minutes=10)
AGAIN: Final = timedelta(seconds=4)
ASLEEP: Final = timedelta(days=1)
CALLED_MARGIN: Final = timedelta(minutes=1)
LONGEST_BACK_OFF: Final = 60.0
LONGEST_RETRY_AFTER: Final = 3_600.0

Counts = Mapping[str, int]
Hours = tuple[time, time]


@dataclass(frozen=True, kw_only=True)
class PollPolicy:
    """The pace: how often a task with calls is looked at, and within what time all its open jobs are listed."""

    shortest: timedelta
    longest: timedelta


class Standing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one look leaves to the next, whoever makes it; losing it costs one whole listing.

    `looked_at` is when this look began, `moved_at` when anything moved last, `whole_at` and `named_at` the last
    listing of all open jobs and of what moved, `settled_until` up to which instant ended calls were listed once more.
    `difference` is that of the last listing that was made for one, and `counted` what the cloud had counted then;
    `was_whole` says whether it was of all open jobs.
    """

    looked_at: datetime | None = None
    whole_at: datetime | None = None
    named_at: datetime | None = None
    moved_at: datetime | None = None
    settled_until: datetime | None = None
    baseline: dict[str, int] = {}
    difference: dict[str, int] = {}
    counted: dict[str, int] = {}
    was_whole: bool = False


@dataclass(frozen=True, kw_only=True)
class Lease:
    """A task that this poller has for a while; `observed_at` grows with every lease of the task."""

    task_id: TaskId
    job_group_id: JobGroupId | None
    state: str | None
    observed_at: datetime
    standing: Standing
    repair_requested: bool
    owner: str
    due_at: datetime

    @property
    def settled_after(self) -> datetime:
        """Calls whose rows showed the end after this instant have not been listed since then."""
        return max(self.observed_at - SETTLING_KNOWN, self.standing.settled_until or self.observed_at - SETTLING_KNOWN)

    @property
    def settled_until(self) -> datetime:
        """Calls whose rows showed the end up to this instant may be listed for the last time."""
        return self.observed_at - SETTLING

    @property
    def called_since(self) -> datetime:
        """A job that moved since the last listing of what moved was called after this instant."""
        return (self.standing.named_at or self.observed_at) - CALLED_MARGIN


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


class Scope(Enum):
    """Which of a task's jobs are listed, each more than the one before."""

    NOTHING = 0
    SETTLED = 1
    """Those whose calls ended lately, for their last words."""
    MOVED = 2
    """These, those whose rows show a call or no status yet, and those that the cloud names as called lately."""
    OPEN = 3
    EVERYTHING = 4


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a look at a task is to do, and what it will leave to the next once that is done."""

    scope: Scope
    standing: Standing
    is_moving: bool


def difference(census: Census, counts: Counts) -> dict[str, int]:
    """Return by how much the cloud counts more jobs than the table holds, by each status that the cloud names."""
    by_status = {status: counts[status] - census.jobs.get(status, 0) for status in COUNTED_STATUSES if status in counts}
    return {status: more for status, more in by_status.items() if more}


def decide(lease: Lease, census: Census, policy: PollPolicy, counts: Counts | None) -> Look:
    """Return what to do; `counts` is None where the group or its counts are unknown."""
    scope, standing = Scope.NOTHING, lease.standing
    is_moving = census.jobs.get(EXECUTING, 0) > 0
    if census.first_settled_at is not None and census.first_settled_at <= lease.settled_until:
        scope = Scope.SETTLED
    if counts is not None and census.open:
        wanted, standing = _compare(standing, difference(census, counts), counts, census.open)
        scope = max(scope, wanted, key=lambda one: one.value)
        is_moving = is_moving or wanted is not Scope.NOTHING
    if census.open and (counts is None or _is_overdue(lease, policy)):
        scope = Scope.OPEN
    if lease.repair_requested and census.total:
        scope = Scope.EVERYTHING
    return Look(scope=scope, standing=standing, is_moving=is_moving)


def leave(lease: Lease, look: Look, *, is_moving: bool) -> Standing:
    """Return what a look that was made as decided, or listed more, leaves to the next."""
    now = lease.observed_at
    moved_at = look.standing.moved_at
    standing = msgspec.structs.replace(
        look.standing, looked_at=now, moved_at=now if is_moving or moved_at is None else moved_at
    )
    if look.scope.value >= Scope.SETTLED.value:
        standing = msgspec.structs.replace(standing, settled_until=lease.settled_until)
    if look.scope.value >= Scope.MOVED.value:
        standing = msgspec.structs.replace(standing, named_at=now)
    if look.scope.value >= Scope.OPEN.value:
        standing = msgspec.structs.replace(standing, whole_at=now, was_whole=True)
    return standing


def next_look(
    lease: Lease,
    census: Census,
    standing: Standing,
    policy: PollPolicy,
    *,
    hours: Sequence[Hours] = (),
    ask_again: timedelta = ASLEEP,
) -> timedelta:
    """Return how long to wait until the next look, never less than `shortest`; at most `ask_again`, for a job in doubt.

    `standing` is what this look leaves. A task without open jobs sleeps until somebody asks for it, starts it again, or
    the audit finds an open row.
    """
    now = lease.observed_at
    waits = [ask_again]
    if census.first_settled_at is not None:
        waits.append(census.first_settled_at + AGAIN - now)
    if census.open:
        waits.append(_patience(now, standing.moved_at or now, hours))
        waits.append((standing.whole_at or now) + policy.longest - policy.shortest - now)
    if lease.state in WORKING_STATES:
        waits += [policy.shortest] if not census.open else [policy.longest / QUIET_PARTS] if census.unassigned else []
    return max(policy.shortest, min(waits))


def is_done(lease: Lease, census: Census) -> bool:
    """Return whether a started task has come to its end: every lead has a job, every job ended and was seen since."""
    is_over = census.total > 0 and not census.unassigned and not census.open
    return lease.state == "calling" and is_over and census.first_settled_at is None


def back_off(failures: int, policy: PollPolicy, *, retry_after: float | None = None) -> timedelta:
    """Return how long to wait after the `failures`-th failure in a row, at least what the cloud asked for."""
    grown = policy.shortest.total_seconds() * 2 ** min(failures - 1, 10)
    asked = min(retry_after or 0.0, LONGEST_RETRY_AFTER)
    return timedelta(seconds=max(asked, min(grown, LONGEST_BACK_OFF)))


def _compare(standing: Standing, seen: dict[str, int], counts: Counts, open_jobs: int) -> tuple[Scope, Standing]:
    """Return what a difference asks for, and what is left of it; the rule of the module's first paragraph."""
    replace = msgspec.structs.replace
    counted = {status: counts[status] for status in COUNTED_STATUSES if status in counts}
    is_still = counted == standing.counted
    is_stubborn = is_still and seen == standing.difference
    if not seen or (is_still and seen == standing.baseline) or (is_stubborn and standing.was_whole):
        return Scope.NOTHING, replace(standing, baseline=seen, difference={}, was_whole=False)
    is_uncalled = any(seen.get(status, 0) != standing.baseline.get(status, 0) for status in UNCALLED_STATUSES)
    scope = Scope.OPEN if is_stubborn or is_uncalled or open_jobs <= SMALL else Scope.MOVED
    return scope, replace(standing, difference=seen, counted=counted, was_whole=False)


def _is_overdue(lease: Lease, policy: PollPolicy) -> bool:
    """Return whether all open jobs are to be listed now, because the next look may be too late."""
    whole_at = lease.standing.whole_at
    return whole_at is None or lease.observed_at - whole_at >= policy.longest - policy.shortest


def _patience(now: datetime, moved_at: datetime, hours: Sequence[Hours]) -> timedelta:
    """Return how long a task can wait in which nothing has moved since then.

    Within working hours a part of the time for which nothing has; outside of them as long again, up to the next.
    """
    local, quiet = now.astimezone(CLOUD_ZONE), now - moved_at
    periods = [(_at(local, begin), _at(local, end)) for begin, end in hours]
    begun = [begin for begin, end in periods if begin <= local < end]
    if begun or not periods:
        return min([quiet, *(local - begin for begin in begun)]) / QUIET_PARTS
    openings = [begin if begin > local else begin + timedelta(days=1) for begin, _ in periods]
    return min(quiet, *(opening - local for opening in openings))


def _at(local: datetime, moment: time) -> datetime:
    return local.replace(hour=moment.hour, minute=moment.minute, second=moment.second, microsecond=0)
