"""The starter: has the leads of started tasks called, each once.

Requests are stored before they are acknowledged. A task is worked on by one starter at a time, under a lease: its group
is found or created, listed whole, and only leads that the listing lacks and nobody may still be assigning are marked
and sent, a chunk at a time. Job ids come from the listing, by reference, and reach the table as events.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, Protocol

from producers.assignment import AssignmentPolicy, Listing, Wave, chunks, plan_wave
from producers.cloud.payloads import Contact, GroupOptions
from producers.task_store import LeasedTask, TaskStore
from runtime import metrics
from runtime.clock import Clock
from runtime.errors import CallstreamError, RejectedError, RetryableError
from runtime.kafka import Publisher, outgoing
from runtime.logs import get_logger
from runtime.service import Service
from runtime.settings import CloudSettings
from schemas.ids import CallJobId, JobGroupId, ReferenceId, TaskId, event_id_for, job_group_name_for
from schemas.jobs import JobAssigned
from schemas.tasks import StartRequested, TaskState, TaskStateChanged
from schemas.topics import JOB_ASSIGNED, TASK_STATE_CHANGED

GROUP: Final = "callstream-start"
SIDE_BY_SIDE: Final = 4
LOOK_SECONDS: Final = 0.5
REOPEN_SECONDS: Final = 30.0
FORGIVE_SECONDS: Final = 600.0
SOON, LATER, AFTER_ERROR = 2.0, 5.0, 10.0

log = get_logger(__name__)


class AssigningCloud(Protocol):
    """What the starter needs of the cloud; errors as `CloudClient` raises them."""

    def find_job_group(self, name: str) -> JobGroupId | None: ...  # noqa: D102
    def create_job_group(self, name: str, options: GroupOptions) -> JobGroupId: ...  # noqa: D102
    def list_group(self, group_id: JobGroupId) -> dict[ReferenceId, list[CallJobId]]: ...  # noqa: D102
    def assign_jobs(self, group_id: JobGroupId, contacts: Sequence[Contact]) -> None: ...  # noqa: D102


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
        self._refused: dict[ReferenceId, str] = {}
        self._reopened_at = self._forgave_at = clock.monotonic()

    def request(self, event: StartRequested) -> None:
        """Take a request: stored, and answered where it cannot be done or is done already."""
        before = self._store.take_request(event)
        if before in {"paused", "cancelled"}:
            self._announce(event.task_id, "rejected", event.request_id, reason=f"the task is {before}")
        elif before == "calling":
            self._announce(event.task_id, "calling", event.request_id)

    def run(self, service: Service) -> None:
        """Work on due tasks until the service stops; outages of cloud, database and broker are waited out."""
        working: set[Future[None]] = set()
        with ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="start") as pool:
            while not service.wait(LOOK_SECONDS):
                service.health.beat()
                for future in [future for future in working if future.done()]:
                    working.remove(future)
                    future.result()
                try:
                    self._reopen()
                    working |= {pool.submit(self.work, task) for task in self._store.lease(SIDE_BY_SIDE - len(working))}
                except RetryableError as error:
                    log.warning("starter.waiting", error=str(error))
                    service.wait(LATER)

    def work(self, task: LeasedTask) -> None:
        """Take a leased task as far as it goes now and give it back; never raises what a later try may mend."""
        due_in, problem = AFTER_ERROR, None
        try:
            due_in = self._advance(task)
            problem = "; ".join(sorted(set(self._refused.values()))) or None
        except CallstreamError as error:
            problem = str(error)
            log.warning("task.not_advanced", task_id=task.task_id, error=problem)
        try:
            self._store.release(task.task_id, due_in=due_in, last_error=problem)
        except RetryableError as error:
            log.warning("task.not_released", task_id=task.task_id, error=str(error))

    def _advance(self, task: LeasedTask) -> float:
        """Return in how many seconds the task is to be looked at again."""
        if task.state not in {"starting", "calling"}:
            return REOPEN_SECONDS
        leads = self._store.waiting_leads(task.task_id)
        wave = Wave()
        if leads:
            group_id = task.job_group_id or self._group_of(task)
            listing = self._cloud.list_group(group_id)
            wave = plan_wave(
                leads,
                listing,
                self._policy,
                now=task.now,
                doubt_until=task.doubt_until,
                refused=frozenset(self._refused),
            )
            if wave.duplicates:
                log.critical("task.called_twice", task_id=task.task_id, references=len(wave.duplicates))
            self._publish_assigned(task.task_id, group_id, wave.adopted)
            if wave.assignable:
                sent = self._assign(task, group_id, wave.assignable)
                self._publish_assigned(task.task_id, group_id, _jobs_of(sent, self._cloud.list_group(group_id)))
        if task.state == "starting":
            self._announce(task.task_id, "calling", task.request_id)
            self._store.set_state(task.task_id, "calling")
        return SOON if leads else LATER

    def _group_of(self, task: LeasedTask) -> JobGroupId:
        """Search before creating: an earlier creation whose answer was lost left a group of the same name."""
        name = job_group_name_for(task.task_id)
        group_id = self._cloud.find_job_group(name)
        if group_id is None:
            group_id = self._cloud.create_job_group(name, task.group_options(self._settings))
        self._store.set_group(task.task_id, group_id)
        return group_id

    def _assign(self, task: LeasedTask, group_id: JobGroupId, contacts: Sequence[Contact]) -> set[ReferenceId]:
        """Send contacts in chunks; stops at the first doubt. Returns the references that were sent for certain."""
        sent: set[ReferenceId] = set()
        for chunk in chunks(contacts):
            marked = self._store.mark(task.task_id, [contact.reference_id for contact in chunk])
            if not marked:
                log.warning("task.lease_lost", task_id=task.task_id)
                break
            sent |= self._send(task.task_id, group_id, [contact for contact in chunk if contact.reference_id in marked])
        return sent

    def _send(self, task_id: TaskId, group_id: JobGroupId, chunk: Sequence[Contact]) -> set[ReferenceId]:
        """Send one chunk, once. What the service refuses whole is halved until the bad contacts stand alone."""
        try:
            self._cloud.assign_jobs(group_id, chunk)
        except RejectedError as error:
            metrics.ASSIGNMENTS.labels("refused").inc(len(chunk))
            if len(chunk) == 1:
                self._refused[chunk[0].reference_id] = f"a lead was refused: {error.code}"
                log.warning("lead.refused", task_id=task_id, reference_id=chunk[0].reference_id, code=error.code)
                return set()
            middle = len(chunk) // 2
            return self._send(task_id, group_id, chunk[:middle]) | self._send(task_id, group_id, chunk[middle:])
        except RetryableError:
            metrics.ASSIGNMENTS.labels("doubtful").inc(len(chunk))
            self._store.doubt(task_id, self._policy.settle.total_seconds())
            raise
        metrics.ASSIGNMENTS.labels("sent").inc(len(chunk))
        return {contact.reference_id for contact in chunk}

    def _publish_assigned(self, task_id: TaskId, group_id: JobGroupId, jobs: Mapping[ReferenceId, CallJobId]) -> None:
        now = self._clock.now()
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
            for reference, job in jobs.items()
        )

    def _announce(self, task_id: TaskId, state: TaskState, request_id: str | None, reason: str | None = None) -> None:
        event = TaskStateChanged(
            event_id=event_id_for(TASK_STATE_CHANGED.name, task_id, state, request_id or "", reason or ""),
            task_id=task_id,
            state=state,
            changed_at=self._clock.now(),
            reason=reason,
            request_id=request_id,  # type: ignore[arg-type]
        )
        self._publisher.publish([outgoing(TASK_STATE_CHANGED, event, source="start")])

    def _reopen(self) -> None:
        now = self._clock.monotonic()
        if now - self._reopened_at >= REOPEN_SECONDS:
            self._reopened_at = now
            self._store.reopen()
        if now - self._forgave_at >= FORGIVE_SECONDS:
            self._forgave_at = now
            self._refused.clear()


def _jobs_of(sent: set[ReferenceId], listing: Listing) -> dict[ReferenceId, CallJobId]:
    return {reference: min(listing[reference]) for reference in sent if reference in listing}
