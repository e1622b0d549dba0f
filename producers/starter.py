"""The starter: has the leads of started tasks called, each once.

Requests are stored before they are acknowledged. A task is worked on by one starter at a time, under a lease: its group
is found or created, listed whole, and only leads that the listing lacks and nobody may still be assigning are marked
and sent, a chunk at a time. Job ids come from the listing, by reference, and reach the table as events.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from producers.assignment import FRESH_SECONDS, AssignmentPolicy, Listing, WaitingLead, chunks, plan_wave
from producers.cloud.payloads import Contact, GroupOptions
from producers.task_store import LeasedTask, TakenRequest, TaskStore
from runtime import metrics
from runtime.clock import Clock
from runtime.errors import CallstreamError, RejectedError, RetryableError
from runtime.kafka import Publisher, outgoing
from runtime.logs import get_logger
from runtime.service import Service
from runtime.settings import CloudSettings
from schemas.ids import CallJobId, JobGroupId, ReferenceId, RequestId, TaskId, event_id_for, job_group_name_for
from schemas.instants import to_milliseconds
from schemas.jobs import JobAssigned
from schemas.tasks import StartRequested, TaskState, TaskStateChanged
from schemas.topics import JOB_ASSIGNED, TASK_STATE_CHANGED

GROUP: Final = "callstream-start"
SIDE_BY_SIDE: Final = 4
LOOK_SECONDS: Final = 0.5
RENEW_SECONDS: Final = 3.0
REOPEN_SECONDS: Final = 2.0
REOPEN_OVERLAP: Final = 10_000  # leads whose transaction ended after that of newer ones
REPEAT_SECONDS: Final = 15.0
FORGIVE_SECONDS: Final = 600.0
DRAIN_SECONDS: Final = 10.0
SOON, LATER, AFTER_ERROR, LONGEST_RETRY = 2.0, 15.0, 10.0, 600.0
# Refusals that are not about a contact, so that halving a chunk would help nobody.
NOT_OF_CONTACTS: Final = ("NotExist.", "LimitExceeded", "HandleJobGroupError")

log = get_logger(__name__)


class LeaseLostError(RetryableError):
    """Somebody else has the task, or stopped it: nothing more may be sent, and nothing was."""


@dataclass(frozen=True)
class Refusal:
    """A lead that the cloud would not take, why, and until when it is not tried again, on the monotonic clock."""

    reason: str
    until: float


class AssigningCloud(Protocol):
    """What the starter needs of the cloud; errors as `CloudClient` raises them."""

    def find_job_group(self, name: str) -> JobGroupId | None: ...  # noqa: D102
    def create_job_group(self, name: str, options: GroupOptions) -> JobGroupId: ...  # noqa: D102
    def list_group(self, group_id: JobGroupId) -> dict[ReferenceId, list[CallJobId]]: ...  # noqa: D102
    def assign_jobs(  # noqa: D102
        self, group_id: JobGroupId, contacts: Sequence[Contact], *, guard: Callable[[], None]
    ) -> None: ...


class Starter:
    """Works on due tasks, several side by side; every step may be taken again after a crash."""

    def __init__(
        self,
        *,
        store: TaskStore,
        cloud: AssigningCloud,
        publisher: Publisher,
        policy: AssignmentPolicy,
        settings: CloudSettings,
        clock: Clock,
    ) -> None:
        self._store = store
        self._cloud = cloud
        self._publisher = publisher
        self._policy = policy
        self._settings = settings
        self._clock = clock
        self._stopping = threading.Event()
        self._refused: dict[TaskId, dict[ReferenceId, Refusal]] = {}  # of a task: touched by who has its lease
        self._published: dict[ReferenceId, float] = {}
        self._newest_lead = 0
        self._reopened_at = self._renewed_at = clock.monotonic() - REOPEN_SECONDS

    def request(self, event: StartRequested) -> None:
        """Take a request: stored, then answered. A repeat has no second effect, and the answer again."""
        taken = self._store.take_request(event)
        before = taken.before
        if taken.is_repeat and before is not None:
            self._answer(event, taken, before, taken.last_error if before == "rejected" else None)
        elif before in {"paused", "cancelled"}:
            self._answer(event, taken, "rejected", f"the task is {before}")
        else:
            self._answer(event, taken, "calling" if before == "calling" else "starting")
        self._store.make_due(event.task_id)

    def run(self, service: Service) -> None:
        """Work on due tasks until the service stops; outages of cloud, database and broker are waited out."""
        self._stopping = service.stopping
        working: dict[Future[None], str] = {}
        pool = ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="start")
        try:
            while not service.wait(LOOK_SECONDS):
                service.health.beat()
                for future in [future for future in working if future.done()]:
                    del working[future]
                try:
                    self._renew(list(working.values()))
                    self._reopen()
                    for task in self._store.lease(SIDE_BY_SIDE - len(working)):
                        working[pool.submit(self.work, task)] = task.lease
                except RetryableError as error:
                    log.warning("starter.waiting", error=str(error))
                    service.wait(LOOK_SECONDS * 2)
            wait(working, DRAIN_SECONDS)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def work(self, task: LeasedTask) -> None:
        """Take a leased task as far as it goes now and give it back; never raises: one task must not end the others."""
        due_in, problem = AFTER_ERROR, None
        try:
            due_in = self._advance(task)
            problem = "; ".join(sorted({refusal.reason for refusal in self._refusals(task.task_id).values()})) or None
        except CallstreamError as error:
            problem = str(error)
            if isinstance(error, RetryableError) and error.retry_after is not None:
                due_in = min(max(due_in, error.retry_after), LONGEST_RETRY)
            log.warning("task.not_advanced", task_id=task.task_id, error=problem)
        except Exception as error:  # noqa: BLE001 - whatever it was, other tasks go on; texts of unknown errors may quote
            problem = f"unexpected: {type(error).__name__}"
            log.error("task.failed", task_id=task.task_id, error=type(error).__name__)  # noqa: TRY400
        try:
            self._store.release(task, due_in=due_in, last_error=problem)
        except RetryableError as error:
            log.warning("task.not_released", task_id=task.task_id, error=str(error))

    def _advance(self, task: LeasedTask) -> float:
        """Return in how many seconds the task is to be looked at again."""
        if task.state not in {"starting", "calling"}:
            return LATER
        refused = self._refusals(task.task_id)
        leads = [lead for lead in self._store.waiting_leads(task.task_id) if lead.contact.reference_id not in refused]
        if leads:
            group_id = task.job_group_id or self._group_of(task)
            if group_id is None:
                return LATER
            self._assign_waiting(task, group_id, leads)
        if task.state == "starting":
            self._announce(task, "calling")
            self._store.set_calling(task)
        return SOON if leads else LATER

    def _assign_waiting(self, task: LeasedTask, group_id: JobGroupId, leads: Sequence[WaitingLead]) -> None:
        """Adopt what the cloud has already, and send what may be sent."""
        wave = plan_wave(
            leads,
            self._cloud.list_group(group_id),
            self._policy,
            now=task.now,
            # Before its group is known to us, nobody of a task was ever assigned: that doubt was about the group.
            doubt_until=task.doubt_until if task.job_group_id else None,
            refused=frozenset(self._refusals(task.task_id)),
        )
        if wave.duplicates:
            log.critical("task.called_twice", task_id=task.task_id, references=len(wave.duplicates))
        self._publish_assigned(task.task_id, group_id, wave.adopted)
        if wave.assignable:
            sent = self._assign(task, group_id, wave.assignable)
            self._publish_assigned(task.task_id, group_id, _jobs_of(sent, self._cloud.list_group(group_id)))

    def _group_of(self, task: LeasedTask) -> JobGroupId | None:
        """Search before creating: an earlier creation whose answer was lost left a group of the same name.

        Its effect may come late, so the doubt is stored before the call. None where the cloud refuses the group.
        """
        name = job_group_name_for(task.task_id)
        group_id = self._cloud.find_job_group(name)
        if group_id is None:
            if task.is_in_doubt:
                raise RetryableError("the job group may have been created; waiting until that is certain")
            self._store.doubt(task.task_id, self._policy.certainty.total_seconds())
            try:
                group_id = self._cloud.create_job_group(name, task.group_options(self._settings))
            except RejectedError as error:
                self._store.doubt(task.task_id, 0)
                if (error.code or "").endswith("Duplicated"):
                    raise RetryableError("the job group's name is taken, but it is not listed yet") from None
                self._reject(task, str(error))
                return None
        known = self._store.set_group(task.task_id, group_id)
        if known != group_id:
            raise RetryableError("the task has got another job group meanwhile")
        return group_id

    def _reject(self, task: LeasedTask, reason: str) -> None:
        if self._store.set_state(task.task_id, "rejected", allowed=("starting", "calling"), last_error=reason):
            log.warning("task.rejected", task_id=task.task_id, error=reason)
            self._announce(task, "rejected", reason)

    def _assign(self, task: LeasedTask, group_id: JobGroupId, contacts: Sequence[Contact]) -> set[ReferenceId]:
        """Send contacts in chunks; stops at the first doubt. Returns the references that were sent for certain."""
        sent: set[ReferenceId] = set()
        for chunk in chunks(contacts):
            if self._stopping.is_set():
                break
            try:
                sent |= self._send(task, group_id, chunk)
            except LeaseLostError:
                log.warning("task.lease_lost", task_id=task.task_id)
                break
        return sent

    def _send(self, task: LeasedTask, group_id: JobGroupId, portion: Sequence[Contact]) -> set[ReferenceId]:
        """Mark a portion and send it, once. What is refused whole is halved until the bad contacts stand alone."""
        marked = self._mark(task, portion)
        marked_at = self._clock.monotonic()
        chunk = [contact for contact in portion if contact.reference_id in marked]

        def guard() -> None:
            """Mark again where the turn of the call was long in coming."""
            if self._clock.monotonic() - marked_at > FRESH_SECONDS and len(self._mark(task, chunk)) != len(chunk):
                raise LeaseLostError("a lead got a job while it waited for its turn")

        try:
            self._cloud.assign_jobs(group_id, chunk, guard=guard)
        except LeaseLostError:
            raise
        except RejectedError as error:
            metrics.ASSIGNMENTS.labels("refused").inc(len(chunk))
            if (error.code or "").startswith(NOT_OF_CONTACTS):
                raise
            if len(chunk) == 1:
                self._refuse(task.task_id, chunk[0].reference_id, error)
                return set()
            middle = len(chunk) // 2
            return self._send(task, group_id, chunk[:middle]) | self._send(task, group_id, chunk[middle:])
        except RetryableError:
            metrics.ASSIGNMENTS.labels("doubtful").inc(len(chunk))
            self._store.doubt(task.task_id, self._policy.settle.total_seconds())
            raise
        metrics.ASSIGNMENTS.labels("sent").inc(len(chunk))
        return {contact.reference_id for contact in chunk}

    def _mark(self, task: LeasedTask, portion: Sequence[Contact]) -> set[ReferenceId]:
        """Check and renew the lease by marking; raises LeaseLostError where nothing may be sent."""
        marked = self._store.mark(task, [contact.reference_id for contact in portion])
        if not marked:
            raise LeaseLostError("the task is somebody else's, or stopped")
        return marked

    def _refuse(self, task_id: TaskId, reference: ReferenceId, error: RejectedError) -> None:
        refusal = Refusal(f"a lead was refused: {error.code}", self._clock.monotonic() + FORGIVE_SECONDS)
        self._refused.setdefault(task_id, {})[reference] = refusal
        log.warning("lead.refused", task_id=task_id, reference_id=reference, code=error.code)

    def _refusals(self, task_id: TaskId) -> Mapping[ReferenceId, Refusal]:
        """Return the refusals of a task that still hold, and forget the others."""
        now = self._clock.monotonic()
        kept = {ref: refusal for ref, refusal in self._refused.get(task_id, {}).items() if refusal.until > now}
        if kept:
            self._refused[task_id] = kept
        else:
            self._refused.pop(task_id, None)
        return kept

    def _publish_assigned(self, task_id: TaskId, group_id: JobGroupId, jobs: Mapping[ReferenceId, CallJobId]) -> None:
        """Say which jobs leads have; what was said moments ago is on its way and is not said again."""
        now, instant = self._clock.now(), self._clock.monotonic()
        news = {
            ref: job
            for ref, job in jobs.items()
            if instant - self._published.get(ref, -REPEAT_SECONDS) >= REPEAT_SECONDS
        }
        self._publisher.publish(
            outgoing(
                JOB_ASSIGNED,
                JobAssigned(
                    event_id=event_id_for(JOB_ASSIGNED.name, reference, job),
                    task_id=task_id,
                    reference_id=reference,
                    call_job_id=job,
                    job_group_id=group_id,
                    assigned_at=now,
                ),
                source="start",
            )
            for reference, job in news.items()
        )
        self._published |= dict.fromkeys(news, instant)

    def _answer(self, event: StartRequested, taken: TakenRequest, state: TaskState, reason: str | None = None) -> None:
        self._publish_state(event.task_id, state, event.request_id, taken.started_at, reason)

    def _announce(self, task: LeasedTask, state: TaskState, reason: str | None = None) -> None:
        self._publish_state(task.task_id, state, task.request_id, task.started_at, reason)

    def _publish_state(
        self,
        task_id: TaskId,
        state: TaskState,
        request_id: RequestId | None,
        started_at: datetime | None,
        reason: str | None,
    ) -> None:
        """Publish under an id that a repeat of the same answer has again, and no later start of the task."""
        round_id = request_id or (to_milliseconds(started_at) if started_at else "")
        parts = (task_id, state, round_id, reason or "")
        event = TaskStateChanged(
            event_id=event_id_for(TASK_STATE_CHANGED.name, *parts),
            task_id=task_id,
            state=state,
            changed_at=self._clock.now(),
            reason=reason,
            request_id=request_id,
        )
        self._publisher.publish([outgoing(TASK_STATE_CHANGED, event, source="start")])

    def _renew(self, leases: list[str]) -> None:
        """Keep the tasks in hand, and forget what was published long enough ago."""
        now = self._clock.monotonic()
        if now - self._renewed_at < RENEW_SECONDS:
            return
        self._renewed_at = now
        if leases:
            self._store.renew(leases)
        for reference in [ref for ref, said_at in list(self._published.items()) if now - said_at >= REPEAT_SECONDS]:
            self._published.pop(reference, None)

    def _reopen(self) -> None:
        """Have tasks looked at that got leads since the last time; the first time, since ever."""
        now = self._clock.monotonic()
        if now - self._reopened_at >= REOPEN_SECONDS:
            self._reopened_at = now
            self._newest_lead = max(0, self._store.reopen(self._newest_lead) - REOPEN_OVERLAP)


def _jobs_of(sent: set[ReferenceId], listing: Listing) -> dict[ReferenceId, CallJobId]:
    return {reference: min(listing[reference]) for reference in sent if reference in listing}
