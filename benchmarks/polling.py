"""How many calls a day of calling costs, and how long after a call's end its row says so, by who polls.

python -m benchmarks.polling [--tasks N] [--jobs N]

Time is simulated; the poller is not: `producers.poller` runs as it is, on a cloud, a table and a clock that are handed
to it. Ten tasks of 1,000 leads are created at 20:00 and called the next day from 9 to 12 and from 14 to 18 o'clock, at
most twice each. A call of the API takes 0.15 s, the process makes at most 20 a second, and what was published is in its
row a second later. Against it: pollers that list all open jobs every 300 s, or every 10 s, at the same rate limit and
with the same second. Calls are counted for 24 hours from the creation.
"""

import argparse
import heapq
import math
import statistics
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast

from benchmarks.call_day import DAY, HOURS, Group, instant, make_groups, make_table, seconds
from benchmarks.measuring import record
from producers.paging import PAGE_SIZE, OpenRow
from producers.poller import LOOK_SECONDS, Poller
from producers.schedule import Census, Hours, Lease, Scope, Standing
from runtime.dead_letters import DeadLetterOffice
from runtime.kafka import Outgoing, Publisher
from runtime.settings import AnalysisSettings, CloudSettings, CoreSettings, KafkaSettings, Settings
from schemas.codec import decode
from schemas.ids import CallJobId, JobGroupId, TaskId
from schemas.jobs import ENDED_STATUSES, JobsPolled
from schemas.topics import JOBS_POLLED

MAX_QPS = 20
CALL_SECONDS = 0.15
TO_ROW_SECONDS = 1.0


@dataclass
class Day:
    """What a poller costs and how late it is."""

    calls: Counter[str] = field(default_factory=Counter)
    delays: list[float] = field(default_factory=list)
    most_in_a_second: int = 0
    _free_at: float = 0.0
    _slots: list[float] = field(default_factory=list)

    def slot(self, action: str, wanted: float) -> float:
        """Return when a call can be made."""
        at = max(wanted, self._free_at)
        self._free_at = at + 1 / MAX_QPS
        self.calls[action] += 1
        return at

    def result(self) -> dict[str, object]:
        """Return the numbers."""
        cuts = statistics.quantiles(self.delays, n=100)
        return {
            "calls": self.calls.total(),
            "by_action": dict(self.calls),
            "p50_seconds": round(cuts[49], 2),
            "p95_seconds": round(cuts[94], 2),
            "p99_seconds": round(cuts[98], 2),
            "ends_seen": len(self.delays),
        }


@dataclass(frozen=True)
class Counts:
    """What DescribeJobGroup says."""

    by_status: Mapping[str, int]
    working_hours: Sequence[Hours] = HOURS


class World:
    """Cloud, table, broker and clock of one poller, as it sees them through its ports."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self.day = Day()
        self.now_seconds = 0.0
        self._groups = {group.task_id: group for group in groups}
        self._jobs = {job_id: group for group in groups for job_id in group.jobs}
        self._tables = {group.task_id: make_table(group) for group in groups}
        self._seen_at: dict[CallJobId, float] = {}
        self._shown: Counter[CallJobId] = Counter()
        self._standings = {group.task_id: Standing() for group in groups}
        self._due = [(0.0, group.task_id) for group in groups]
        self._lock = threading.Lock()

    def run(self, poller: Poller, until: float) -> None:
        """Let the poller look at whatever is due, one look after the other, until an instant."""
        while self._due and self._due[0][0] < until:
            due, task_id = heapq.heappop(self._due)
            self.now_seconds = math.ceil(due / LOOK_SECONDS) * LOOK_SECONDS
            poller.poll_task(
                Lease(
                    task_id=task_id,
                    job_group_id=JobGroupId(task_id),
                    state="calling",
                    observed_at=instant(self.now_seconds),
                    standing=self._standings[task_id],
                    repair_requested=False,
                    owner=poller.owner,
                    due_at=instant(due),
                )
            )

    def now(self) -> datetime:
        """Clock."""
        return instant(self.now_seconds)

    def monotonic(self) -> float:
        """Clock."""
        return self.now_seconds

    def list_jobs(self, ids: Sequence[CallJobId]) -> Sequence[Mapping[str, Any]]:
        """Cloud."""
        with self._lock:
            at = self._call("ListJobs")
            self._seen_at |= dict.fromkeys(ids, at)
            return [self._jobs[job_id].jobs[job_id].payload(at) for job_id in ids]

    def describe_job_group(self, group_id: JobGroupId) -> Counts:
        """Cloud."""
        with self._lock:
            return Counts(self._groups[TaskId(group_id)].counts(self._call("DescribeJobGroup")))

    def called_since(self, group_id: JobGroupId, since: datetime, limit: int) -> Sequence[CallJobId] | None:
        """Cloud; a call per page."""
        with self._lock:
            at = self._call("QueryJobsWithResult")
            called = self._groups[TaskId(group_id)].called(seconds(since), at)
            if len(called) > limit:
                return None
            for _ in range(100, len(called), 100):
                self._call("QueryJobsWithResult")
            return called

    def publish(self, records: Iterable[Outgoing]) -> None:
        """Broker, and all that follows until the row."""
        with self._lock:
            for message in records:
                for job in decode(message.value, JobsPolled).jobs if message.topic == JOBS_POLLED.name else ():
                    self._show(job.call_job_id, job.task_id, job.call_status)

    def lease(self, owner: str, limit: int) -> Sequence[Lease]:
        """Store; `run` leases."""
        raise NotImplementedError(owner, limit)

    def renew(self, lease: Lease) -> bool:
        """Store."""
        return bool(lease)

    def release(
        self,
        lease: Lease,
        delay: timedelta,
        *,
        standing: Standing | None = None,
        is_repaired: bool = False,
        is_done: bool = False,
    ) -> None:
        """Store."""
        assert standing is not None, "a look failed"
        assert not is_repaired
        self._standings[lease.task_id] = standing
        if not is_done:
            heapq.heappush(self._due, (self.now_seconds + delay.total_seconds(), lease.task_id))

    def census(self, lease: Lease) -> Census:
        """Store."""
        return self._tables[lease.task_id].census(lease, self.now_seconds)

    def rows(self, lease: Lease, scope: Scope, named: Sequence[CallJobId] = ()) -> Sequence[OpenRow]:
        """Store."""
        return self._tables[lease.task_id].select(lease, scope, named)

    def wake(self, shortest: timedelta) -> None:
        """Store; nobody starts anything."""

    def _call(self, action: str) -> float:
        at = self.day.slot(action, self.now_seconds)
        self.now_seconds = max(self.now_seconds, at + CALL_SECONDS)
        return at

    def _show(self, job_id: CallJobId, task_id: TaskId, status: str) -> None:
        shows_at = self.now_seconds + TO_ROW_SECONDS
        self._tables[task_id].write(shows_at, job_id, status)
        attempts = self._jobs[job_id].jobs[job_id].attempts
        over = sum(attempt.end <= self._seen_at[job_id] for attempt in attempts)
        self.day.delays += [shows_at - attempt.end for attempt in attempts[self._shown[job_id] : over]]
        self._shown[job_id] = max(self._shown[job_id], over)


def follow(groups: Sequence[Group], *, shortest: float = 5, longest: float = 300, until: float = DAY) -> Day:
    """Return what the poller costs."""
    world = World(groups)
    core = CoreSettings(poll_min_seconds=shortest, poll_max_seconds=longest)
    settings = Settings(kafka=KafkaSettings(), cloud=CloudSettings(), analysis=AnalysisSettings(), core=core)
    office = DeadLetterOffice(cast(Publisher, world), "benchmark")
    world.run(Poller(world, world, world, office, settings, world), until)
    return world.day


def poll_fixed(groups: Sequence[Group], period: float) -> Day:
    """Return what listing every open job of every task costs, as soon as the round before is over."""
    day = Day()
    rows = {group.task_id: [(job_id, 0) for job_id in group.jobs] for group in groups}
    start = 0.0
    while start < DAY:
        end = start
        for group in groups:
            still = []
            jobs = rows[group.task_id]
            for first in range(0, len(jobs), PAGE_SIZE):
                at = day.slot("ListJobs", start)
                end = at + CALL_SECONDS
                for job_id, shown in jobs[first : first + PAGE_SIZE]:
                    job = group.jobs[job_id]
                    if job.attempts[shown].end <= at:
                        over = sum(attempt.end <= at for attempt in job.attempts)
                        day.delays += [end + TO_ROW_SECONDS - attempt.end for attempt in job.attempts[shown:over]]
                        if job.status(at) not in ENDED_STATUSES:
                            still.append((job_id, over))
                    else:
                        still.append((job_id, shown))
            rows[group.task_id] = still
        start = max(start + period, end)
    return day


def main() -> None:
    """Run the three and keep the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=1_000)
    arguments = parser.parse_args()
    groups = make_groups(arguments.tasks, arguments.jobs)
    days = {
        "every 300 s": poll_fixed(groups, 300),
        "every 10 s": poll_fixed(groups, 10),
        "callstream": follow(groups),
    }
    ratio = days["callstream"].calls.total() / days["every 10 s"].calls.total()
    record(
        "polling",
        {
            "tasks": arguments.tasks,
            "jobs_each": arguments.jobs,
            "share_of_every_10_s": round(ratio, 3),
            **{name: day.result() for name, day in days.items()},
        },
    )


if __name__ == "__main__":
    main()
