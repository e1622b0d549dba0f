"""The poll role: leases due tasks, asks the cloud what became of their jobs, publishes pages.

A lease draws the instant of the observation from the database before the cloud is asked; that instant alone says which
of two observations is newer. Several pollers may run: what two of them publish of one task differs in age, and age
decides. Nothing of a look is remembered before its pages are acknowledged, so a crash only repeats it.
"""

import json
import os
import socket
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from datetime import timedelta
from typing import Any, Final, Protocol, TypeVar
from uuid import uuid4

import orjson

from producers.paging import Absences, OpenRow, SeenJob, pages_of, plan_calls, read_answer
from producers.poll_store import PollStore
from producers.schedule import (
    Census,
    Lease,
    Look,
    PollPolicy,
    back_off,
    counts_agree,
    decide,
    is_done,
    next_look,
)
from runtime import metrics
from runtime.clock import Clock
from runtime.dead_letters import DeadLetter, DeadLetterOffice, Origin
from runtime.errors import RejectedError, RetryableError
from runtime.kafka import Publisher, outgoing
from runtime.logs import get_logger
from runtime.postgres import Database
from runtime.service import Service
from runtime.settings import Settings
from schemas.ids import CallJobId, JobGroupId, PageId, event_id_for
from schemas.instants import to_milliseconds
from schemas.tasks import TaskStateChanged
from schemas.topics import JOBS_POLLED, MAX_RECORD_BYTES, TASK_STATE_CHANGED

SOURCE: Final = "poll"
TASKS: Final = 4
CALLS_PER_TASK: Final = 4
LOOK_SECONDS: Final = 0.5
RENEW_SECONDS: Final = 5.0
DRAIN_SECONDS: Final = 8.0
UNKNOWN_JOB_CODES: Final = ("NotExist.Job", "InvalidParameter")
UNKNOWN_GROUP_CODE: Final = "NotExist.JobGroup"
REMEMBERED_LETTERS: Final = 10_000

R = TypeVar("R")
log = get_logger(__name__)


class Progress(Protocol):
    """The cloud's own counts of a job group."""

    @property
    def total(self) -> int:
        """How many jobs there are."""
        ...

    @property
    def by_status(self) -> Mapping[str, int]:
        """How many of them have which status, and counts of other things."""
        ...


class Cloud(Protocol):
    """What the poller asks; both raise RetryableError or RejectedError."""

    def list_jobs(self, ids: Sequence[CallJobId]) -> Sequence[Mapping[str, Any]]:
        """Return the jobs of at most 99 ids, in any order."""
        ...

    def describe_job_group(self, group_id: JobGroupId) -> Progress:
        """Return a group's counts."""
        ...


class _StoppedError(Exception):
    """The service stops; the look is given up and made again by whoever is next."""


class _LeaseLostError(Exception):
    """Another poller has the task by now."""


class Poller:
    """Looks for due tasks and works several side by side; used by one process as long as it lives."""

    def __init__(
        self,
        database: Database,
        cloud: Cloud,
        publisher: Publisher,
        office: DeadLetterOffice,
        settings: Settings,
        clock: Clock,
    ) -> None:
        core = settings.core
        self.store = PollStore(database)
        self.owner = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:8]}"
        self._cloud = cloud
        self._publisher = publisher
        self._office = office
        self._clock = clock
        self._policy = PollPolicy(
            shortest=timedelta(seconds=core.poll_min_seconds),
            longest=timedelta(seconds=max(core.poll_min_seconds, core.poll_max_seconds)),
        )
        self._absences = Absences(timedelta(seconds=core.not_exist_seconds))
        self._failures: dict[str, int] = {}
        self._buried: set[tuple[str, str]] = set()
        self._stopping = threading.Event()
        self._discover_at = self._wake_at = clock.monotonic()

    def run(self, service: Service) -> None:
        """Work until the service stops; outages of database, broker and cloud are waited out."""
        self._stopping = service.stopping
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
        pool = ThreadPoolExecutor(CALLS_PER_TASK, thread_name_prefix="call")
        try:
            outcome = self._work(lease, pool)
        except (RetryableError, RejectedError) as error:
            outcome = "failed"
            self._postpone(lease, error)
        except _LeaseLostError:
            outcome = "lost"
            log.warning("poll.lease_lost", task_id=lease.task_id)
        except _StoppedError:
            outcome = "stopped"
            self._release_quietly(lease, timedelta(0))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        metrics.POLLS.labels(outcome).inc()

    def _look(self, room: int) -> Sequence[Lease]:
        """Return due tasks, at most `room`, now leased; none while the database is away."""
        now = self._clock.monotonic()
        try:
            if now >= self._discover_at:
                self.store.discover(self._policy.longest)
                self._discover_at = now + self._policy.longest.total_seconds()
                self._absences.forget(self._clock.now())
            if now >= self._wake_at:
                self.store.wake()
                self._wake_at = now + self._policy.shortest.total_seconds()
            return self.store.lease(self.owner, room) if room > 0 else ()
        except RetryableError as error:
            log.warning("poll.waiting", error=str(error))
            return ()

    def _work(self, lease: Lease, pool: ThreadPoolExecutor) -> str:
        census = self.store.census(lease)
        look = decide(lease, census, self._policy, agrees=self._ask_group(lease, census, pool))
        jobs = self._list_jobs(lease, pool) if look.must_list else []
        self._finish(lease, census, look, jobs)
        self._failures.pop(lease.task_id, None)
        return "listed" if look.must_list else "unchanged"

    def _ask_group(self, lease: Lease, census: Census, pool: ThreadPoolExecutor) -> bool | None:
        """Return whether the group's counts agree with the table's; None where that is not known or not needed."""
        if lease.job_group_id is None or not census.open:
            return None
        try:
            (progress,) = self._wait(lease, [pool.submit(self._cloud.describe_job_group, lease.job_group_id)])
        except RejectedError as error:
            if error.code != UNKNOWN_GROUP_CODE:
                raise
            return None
        return counts_agree(census, progress.by_status, progress.total)

    def _list_jobs(self, lease: Lease, pool: ThreadPoolExecutor) -> list[SeenJob]:
        """List and publish what is open; returns what was seen, all of it acknowledged by the broker."""
        rows = self.store.open_rows(lease)
        resting = () if lease.repair_requested else self._absences.resting(rows, lease.observed_at)
        asked = [row for row in rows if row.job_id not in resting]
        calls = plan_calls(asked, self._absences.suspects(asked))
        answers = self._wait(lease, [pool.submit(self._list_call, lease, call) for call in calls])
        return [job for answer in answers for job in answer]

    def _list_call(self, lease: Lease, rows: Sequence[OpenRow]) -> list[SeenJob]:
        answer = read_answer(rows, self._fetch(rows))
        gone = self._absences.note((job.row for job in answer.seen), answer.missing, lease.observed_at)
        seen = [*answer.seen, *gone]
        self._publish(lease, seen)
        for unmapped in answer.unmapped:
            self._bury(unmapped.page_id, unmapped.job_id, _raw_bytes(unmapped.raw), unmapped.reason)
        return seen

    def _fetch(self, rows: Sequence[OpenRow]) -> list[Mapping[str, Any]]:
        """Return the jobs that the cloud knows of `rows`; where one of them spoils the call, the others alone."""
        try:
            return list(self._cloud.list_jobs([row.job_id for row in rows]))
        except RejectedError as error:
            if not (error.code or "").startswith(UNKNOWN_JOB_CODES):
                raise
        if self._stopping.is_set():
            raise _StoppedError
        if len(rows) == 1:
            return []
        middle = len(rows) // 2
        return self._fetch(rows[:middle]) + self._fetch(rows[middle:])

    def _publish(self, lease: Lease, jobs: Sequence[SeenJob]) -> None:
        records = []
        for page in pages_of(jobs, lease.observed_at, repair=lease.repair_requested):
            record = outgoing(JOBS_POLLED, page, source=SOURCE)
            if record.value is not None and len(record.value) > MAX_RECORD_BYTES:
                self._bury(page.page_id, page.jobs[0].call_job_id, record.value, "the job is too large for a record")
            else:
                records.append(record)
        self._publisher.publish(records)

    def _bury(self, page_id: PageId, job_id: str, value: bytes, reason: str) -> None:
        """Make a dead letter of what no page can take, once per process for the same job and reason."""
        if (job_id, reason) in self._buried:
            return
        origin = Origin(topic=JOBS_POLLED.name, partition=0, offset=-1, key=page_id.encode(), value=value)
        exception = "callstream.MappingError"
        try:
            self._office.send([DeadLetter(origin=origin, kind="unmapped", reason=reason, exception=exception)])
        except RejectedError as error:
            log.error("poll.job_lost", call_job_id=job_id, size=len(value), code=error.code)  # noqa: TRY400 - no bug
        if len(self._buried) < REMEMBERED_LETTERS:
            self._buried.add((job_id, reason))

    def _finish(self, lease: Lease, census: Census, look: Look, jobs: Sequence[SeenJob]) -> None:
        """Announce the end of a task that has come to it, and give the task back with its next due time."""
        done = is_done(lease, census)
        if done:
            self._publisher.publish([outgoing(TASK_STATE_CHANGED, _done(lease, census), source=SOURCE)])
        is_moving = look.is_moving or any(job.is_moving for job in jobs)
        has_ended = any(job.has_just_ended for job in jobs)
        delay = next_look(lease, census, self._policy, is_moving=is_moving, has_ended=has_ended)
        self.store.release(lease, delay, is_listed=look.must_list, is_repaired=lease.repair_requested, is_done=done)

    def _wait(self, lease: Lease, futures: Sequence[Future[R]]) -> list[R]:
        """Return the results in order, renewing the lease meanwhile; raises the first error of any."""
        renewed_at = self._clock.monotonic()
        pending = set(futures)
        while pending:
            done, pending = wait(pending, 0.5, FIRST_EXCEPTION)
            for future in done:
                future.result()
            if pending and self._stopping.is_set():
                raise _StoppedError
            if pending and self._clock.monotonic() - renewed_at >= RENEW_SECONDS:
                renewed_at = self._clock.monotonic()
                if not self.store.renew(lease):
                    raise _LeaseLostError
        return [future.result() for future in futures]

    def _postpone(self, lease: Lease, error: RetryableError | RejectedError) -> None:
        failures = self._failures[lease.task_id] = self._failures.get(lease.task_id, 0) + 1
        retry_after = error.retry_after if isinstance(error, RetryableError) else None
        delay = back_off(failures, self._policy, retry_after=retry_after)
        log.warning("poll.task_failed", task_id=lease.task_id, failures=failures, error=str(error))
        self._release_quietly(lease, delay)

    def _release_quietly(self, lease: Lease, delay: timedelta) -> None:
        """Give a task back; where the database is away the lease ends by itself."""
        try:
            self.store.release(lease, delay)
        except RetryableError as error:
            log.warning("poll.release_failed", task_id=lease.task_id, error=str(error))


def _reap(running: set[Future[None]]) -> set[Future[None]]:
    """Return what still runs; a look that ended by an error nobody foresaw is logged, its lease ends by itself."""
    for future in running:
        error = future.exception() if future.done() else None
        if error is not None:
            log.error("poll.look_broke", error=type(error).__name__)
    return {future for future in running if not future.done()}


def _raw_bytes(raw: object) -> bytes:
    try:
        return orjson.dumps(raw, default=str)
    except TypeError:  # text with lone surrogates, which only the standard library writes
        return json.dumps(raw, default=str).encode()


def _done(lease: Lease, census: Census) -> TaskStateChanged:
    settled_at = to_milliseconds(census.last_settled_at) if census.last_settled_at else 0
    return TaskStateChanged(
        event_id=event_id_for(TASK_STATE_CHANGED.name, lease.task_id, "done", census.total, settled_at),
        task_id=lease.task_id,
        state="done",
        changed_at=lease.observed_at,
    )
