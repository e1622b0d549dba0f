"""The starter: has the leads of started tasks called, each once.

Requests are stored before they are acknowledged. A task is worked on by one starter at a time, under a lease: its group
is found or created, listed whole, and only leads that the listing lacks and nobody may still be assigning are marked
and sent, a chunk at a time. Job ids come from the listing, by reference, and reach the table as events.
"""

import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import datetime
from typing import Final, Protocol

from producers.assigner import Assigner, AssigningCloud
from producers.assignment import AssignmentPolicy
from producers.cloud.payloads import GroupOptions
from producers.task_store import LeasedTask, TakenRequest, TaskStore
from runtime.clock import Clock
from runtime.errors import CallstreamError, RejectedError, RetryableError
from runtime.kafka import Publisher, outgoing
from runtime.logs import get_logger
from runtime.service import Service
from runtime.settings import CloudSettings
from schemas.ids import JobGroupId, RequestId, TaskId, event_id_for, job_group_name_for
from schemas.instants import to_milliseconds
from schemas.tasks import StartRequested, TaskState, TaskStateChanged
from schemas.topics import TASK_STATE_CHANGED

GROUP: Final = "callstream-start"
SIDE_BY_SIDE: Final = 4
LOOK_SECONDS: Final = 0.5
RENEW_SECONDS: Final = 3.0
REOPEN_SECONDS: Final = 2.0
REOPEN_OVERLAP: Final = 10_000  # leads whose transaction ended after that of newer ones
DRAIN_SECONDS: Final = 10.0
SOON, LATER, AFTER_ERROR, LONGEST_RETRY = 2.0, 15.0, 10.0, 600.0

log = get_logger(__name__)


class StartingCloud(AssigningCloud, Protocol):
    """What the starter needs of the cloud; errors as `CloudClient` raises them."""

    def find_job_group(self, name: str) -> JobGroupId | None: ...  # noqa: D102
    def create_job_group(self, name: str, options: GroupOptions) -> JobGroupId: ...  # noqa: D102


class Starter:
    """Works on due tasks, several side by side; every step may be taken again after a crash."""

    def __init__(
        self,
        *,
        store: TaskStore,
        cloud: StartingCloud,
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
        self._assigner = Assigner(
            store=store,
            cloud=cloud,
            publisher=publisher,
            policy=policy,
            clock=clock,
            is_stopping=self._is_stopping,
        )
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
            problem = (
                "; ".join(sorted({refusal.reason for refusal in self._assigner.refusals(task.task_id).values()}))
                or None
            )
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

    def _is_stopping(self) -> bool:
        return self._stopping.is_set()

    def _advance(self, task: LeasedTask) -> float:
        """Return in how many seconds the task is to be looked at again."""
        if task.state not in {"starting", "calling"}:
            return LATER
        refused = self._assigner.refusals(task.task_id)
        leads = [lead for lead in self._store.waiting_leads(task.task_id) if lead.contact.reference_id not in refused]
        if leads:
            group_id = task.job_group_id or self._group_of(task)
            if group_id is None:
                return LATER
            self._assigner.assign(task, group_id, leads)
        if task.state == "starting":
            self._announce(task, "calling")
            self._store.set_calling(task)
        return SOON if leads else LATER

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
        self._assigner.forget()

    def _reopen(self) -> None:
        """Have tasks looked at that got leads since the last time; the first time, since ever."""
        now = self._clock.monotonic()
        if now - self._reopened_at >= REOPEN_SECONDS:
            self._reopened_at = now
            self._newest_lead = max(0, self._store.reopen(self._newest_lead) - REOPEN_OVERLAP)
