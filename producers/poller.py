"""The poll role: leases due tasks, asks the cloud what became of their jobs, publishes pages.

A lease draws the instant of the observation from the database before the cloud is asked; that instant alone says which
of two observations is newer. Several pollers may run: what two of them publish of one task differs in age, and age
decides. Nothing of a look is remembered before its pages are acknowledged, so a crash only repeats it.
"""

import os
import socket
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, Protocol
from uuid import uuid4

from producers.cloud.errors import CredentialsError, ThrottledError, UnclearAnswerError
from producers.held_calls import HeldCalls, LeaseLostError, Leases
from producers.listing import SOURCE, Listing, Sender, StoppedError
from producers.paging import Absences, OpenRow, SeenJob
from producers.schedule import (
    ASLEEP,
    Census,
    Hours,
    Lease,
    Look,
    PollPolicy,
    Scope,
    Standing,
    back_off,
    decide,
    is_done,
    leave,
    next_look,
)
from runtime import metrics
from runtime.clock import Clock
from runtime.dead_letters import DeadLetterOffice
from runtime.errors import RejectedError, RetryableError
from runtime.kafka import outgoing
from runtime.logs import get_logger
from runtime.service import Service
from runtime.settings import Settings
from schemas.ids import CallJobId, JobGroupId, event_id_for
from schemas.instants import to_milliseconds
from schemas.tasks import TaskStateChanged
from schemas.topics import TASK_STATE_CHANGED

TASKS: Final = 4
LOOK_SECONDS: Final = 0.5
DRAIN_SECONDS: Final = 8.0
WORTH_NAMING: Final = 3

log = get_logger(__name__)


class Progress(Protocol):
    """What the cloud says of a job group."""

    @property
    def by_status(self) -> Mapping[str, int] | None:
        """How many jobs have which status, for the statuses that it counts; None where it counts none."""
        ...

    @property
    def working_hours(self) -> Sequence[Hours]:
        """When people are called; nothing where that is not known."""
        ...


class Cloud(Protocol):
    """What the poller asks; all raise RetryableError or RejectedError."""

    def list_jobs(self, ids: Sequence[CallJobId]) -> Sequence[Mapping[str, Any]]:
        """Return the jobs of at most 99 ids, in any order."""
        ...

    def describe_job_group(self, group_id: JobGroupId) -> Progress:
        """Return a group's counts."""
        ...

    def called_since(self, group_id: JobGroupId, since: datetime, limit: int) -> Sequence[CallJobId] | None:
        """Return the jobs of a group that were called since then; None where they are over `limit`."""
        ...


class Store(Leases, Protocol):
    """Where leases and rows are; all raise RetryableError while it is away."""

    def lease(self, owner: str, limit: int) -> Sequence[Lease]:
        """Take up to `limit` due tasks that nobody works on."""
        ...

    def release(
        self,
        lease: Lease,
        delay: timedelta,
        *,
        standing: Standing | None = None,
        is_repaired: bool = False,
        is_done: bool = False,
    ) -> None:
        """Give a task back, due after `delay`."""
        ...

    def census(self, lease: Lease) -> Census:
        """Count the rows of a task."""
        ...

    def rows(self, lease: Lease, scope: Scope, named: Sequence[CallJobId] = ()) -> Sequence[OpenRow]:
        """Return the jobs to be listed."""
        ...

    def wake(self, shortest: timedelta) -> None:
        """Make tasks due that somebody started since their last look."""
        ...


class Poller:
    """Looks for due tasks and works several side by side; used by one process as long as it lives."""

    def __init__(
        self,
        store: Store,
        cloud: Cloud,
        publisher: Sender,
        office: DeadLetterOffice,
        settings: Settings,
        clock: Clock,
    ) -> None:
        core = settings.core
        self.owner = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:8]}"
        self._store = store
        self._cloud = cloud
        self._publisher = publisher
        self._clock = clock
        self._policy = PollPolicy(
            shortest=timedelta(seconds=core.poll_min_seconds),
            longest=timedelta(seconds=max(core.poll_min_seconds, core.poll_max_seconds)),
        )
        self._absences = Absences(timedelta(seconds=core.not_exist_seconds))
        self._listing = Listing(cloud, publisher, office, self._absences)
        self._failures: dict[str, int] = {}
        self._wake_at = clock.monotonic()

    def run(self, service: Service) -> None:
        """Work until the service stops; outages of database, broker and cloud are waited out."""
        self._listing.stopping = service.stopping
        executor = ThreadPoolExecutor(TASKS, thread_name_prefix="poll")
        running: set[Future[None]] = set()
        try:
            while not service.stopping.is_set():
                service.health.beat()
                running = _reap(running)
                running |= {executor.submit(self.poll_task, lease) for lease in self._look(TASKS - len(running))}
                service.wait(LOOK_SECONDS)
        finally:
            service.stopping.set()
            wait(running, DRAIN_SECONDS)
            executor.shutdown(wait=False, cancel_futures=True)

    def poll_task(self, lease: Lease) -> None:
        """Look at one leased task and give it back, due again when it makes sense; a failure only makes it later."""
        try:
            with HeldCalls(lease, self._store, self._clock, self._listing.stopping) as calls:
                outcome = self._work(lease, calls)
        except (RetryableError, RejectedError) as error:
            outcome = "failed"
            self._postpone(lease, error)
        except LeaseLostError:
            outcome = "lost"
            log.warning("poll.lease_lost", task_id=lease.task_id)
        except StoppedError:
            outcome = "stopped"
            self._release_quietly(lease, timedelta(0))
        metrics.POLLS.labels(outcome).inc()

    def _look(self, room: int) -> Sequence[Lease]:
        """Return due tasks, at most `room`, now leased; none while the database is away."""
        now = self._clock.monotonic()
        try:
            if now >= self._wake_at:
                self._store.wake(self._policy.shortest)
                self._absences.forget(self._clock.now())
                self._wake_at = now + self._policy.shortest.total_seconds()
            return self._store.lease(self.owner, room) if room > 0 else ()
        except RetryableError as error:
            log.warning("poll.waiting", error=str(error))
            return ()

    def _work(self, lease: Lease, calls: HeldCalls) -> str:
        census = self._store.census(lease)
        group = self._ask_group(lease, census, calls)
        look = decide(lease, census, self._policy, None if group is None else group.by_status)
        named: Sequence[CallJobId] = self._absences.doubtful(lease.task_id)
        if look.scope is Scope.MOVED:
            called = self._ask_called(lease, census, calls)
            look = look if called is not None else replace(look, scope=Scope.OPEN)
            named = [*named, *(called or ())]
        jobs = self._list(lease, look.scope, named, calls) if look.scope is not Scope.NOTHING or named else []
        self._finish(lease, census, look, jobs, () if group is None else group.working_hours)
        self._failures.pop(lease.task_id, None)
        return look.scope.name.lower()

    def _ask_group(self, lease: Lease, census: Census, calls: HeldCalls) -> Progress | None:
        """Return what the cloud says of the task's group; None where that is not needed, or not understood.

        Jobs are listed by their own ids, so all open ones can be without it.
        """
        group_id = lease.job_group_id
        if group_id is None or not census.open:
            return None
        try:
            return calls.ask(lambda: self._cloud.describe_job_group(group_id))
        except (RejectedError, UnclearAnswerError) as error:
            log.debug("poll.group_not_counted", task_id=lease.task_id, error=str(error))
            return None

    def _ask_called(self, lease: Lease, census: Census, calls: HeldCalls) -> Sequence[CallJobId] | None:
        """Return the jobs that were called since the last listing; None where naming them is not worth it, or fails.

        The action has a permission of its own, and all else works without. Where the cloud throttles, a listing of all
        would make it worse.
        """
        group_id, limit = lease.job_group_id, census.open // WORTH_NAMING
        if group_id is None:
            return None
        try:
            return calls.ask(lambda: self._cloud.called_since(group_id, lease.called_since, limit))
        except ThrottledError:
            raise
        except (RejectedError, RetryableError) as error:
            log.warning("poll.jobs_not_named", task_id=lease.task_id, error=str(error))
            return None

    def _list(self, lease: Lease, scope: Scope, named: Sequence[CallJobId], calls: HeldCalls) -> list[SeenJob]:
        """List and publish what the look asks for; returns what was seen, all of it acknowledged by the broker."""
        planned = self._listing.plan(lease, self._store.rows(lease, scope, named))
        answers = calls.ask_all([partial(self._listing.call, lease, rows) for rows in planned])
        return [job for answer in answers for job in answer]

    def _finish(
        self, lease: Lease, census: Census, look: Look, jobs: Sequence[SeenJob], hours: Sequence[Hours]
    ) -> None:
        """Announce the end of a task that has come to it, and give the task back with its next due time."""
        done = is_done(lease, census)
        if done:
            self._publisher.publish([outgoing(TASK_STATE_CHANGED, _done(lease, census), source=SOURCE)])
        is_moving = look.is_moving or any(job.is_moving for job in jobs)
        ask_again = self._absences.rest if self._absences.doubtful(lease.task_id) else ASLEEP
        standing = leave(lease, look, is_moving=is_moving)
        delay = next_look(lease, census, standing, self._policy, hours=hours, ask_again=ask_again)
        self._store.release(lease, delay, standing=standing, is_repaired=lease.repair_requested, is_done=done)

    def _postpone(self, lease: Lease, error: RetryableError | RejectedError) -> None:
        failures = self._failures[lease.task_id] = self._failures.get(lease.task_id, 0) + 1
        retry_after = error.retry_after if isinstance(error, RetryableError) else None
        delay = back_off(failures, self._policy, retry_after=retry_after)
        if not isinstance(error, CredentialsError):  # the client says that once
            log.warning("poll.task_failed", task_id=lease.task_id, failures=failures, error=str(error))
        self._release_quietly(lease, delay)

    def _release_quietly(self, lease: Lease, delay: timedelta) -> None:
        """Give a task back; where the database is away the lease ends by itself."""
        try:
            self._store.release(lease, delay)
        except RetryableError as error:
            log.warning("poll.release_failed", task_id=lease.task_id, error=str(error))


def _reap(running: set[Future[None]]) -> set[Future[None]]:
    """Return what still runs; a look that ended by an error nobody foresaw is logged, its lease ends by itself."""
    for future in running:
        error = future.exception() if future.done() else None
        if error is not None:
            log.error("poll.look_broke", error=type(error).__name__)
    return {future for future in running if not future.done()}


def _done(lease: Lease, census: Census) -> TaskStateChanged:
    settled_at = to_milliseconds(census.last_settled_at) if census.last_settled_at else 0
    return TaskStateChanged(
        event_id=event_id_for(TASK_STATE_CHANGED.name, lease.task_id, "done", census.total, settled_at),
        task_id=lease.task_id,
        state="done",
        changed_at=lease.observed_at,
    )
