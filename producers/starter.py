"""The starter: has the leads of started tasks called, each once.

Requests are stored before they are acknowledged. A task is worked on by one starter at a time, under a lease: its group
is found or created, listed whole, and only leads that the listing lacks and nobody may still be assigning are marked
and sent, a chunk at a time. Job ids come from the listing, by reference, and reach the table as events.
"""

import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Final, Protocol

from producers.announcements import Announcements
from producers.assigner import Assigner, AssigningCloud
from producers.assignment import AssignmentPolicy, needs_listing
from producers.groups import GroupingCloud, Groups
from producers.orders import ObeyingCloud, Orders
from producers.start_options import field_of_refusal, problem_of
from producers.task_store import LeasedTask, TaskStore
from runtime.clock import Clock
from runtime.errors import CallstreamError, RejectedError, RetryableError
from runtime.kafka import Publisher
from runtime.logs import get_logger
from runtime.service import Service
from runtime.settings import CloudSettings
from schemas.tasks import StartRequested

GROUP: Final = "callstream-start"
SIDE_BY_SIDE: Final = 4
LOOK_SECONDS: Final = 0.5
RENEW_SECONDS: Final = 3.0
REOPEN_SECONDS: Final = 2.0
DRAIN_SECONDS: Final = 10.0
AT_ONCE, SOON, LATER, AFTER_ERROR, LONGEST_RETRY = 0.0, 2.0, 15.0, 10.0, 600.0

log = get_logger(__name__)


class StartingCloud(AssigningCloud, GroupingCloud, ObeyingCloud, Protocol):
    """What the starter needs of the cloud; errors as `CloudClient` raises them."""


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
        self._settings = settings
        self._clock = clock
        self._stopping = threading.Event()
        self._announcements = Announcements(publisher, clock)
        self._groups = Groups(store=store, cloud=cloud, policy=policy, settings=settings)
        self._policy = policy
        self._assigner = Assigner(
            store=store,
            cloud=cloud,
            publisher=publisher,
            policy=policy,
            clock=clock,
            is_stopping=self._is_stopping,
        )
        self._orders = Orders(store=store, cloud=cloud, assigner=self._assigner, announcements=self._announcements)
        self._looked_up_to = 0
        self._reopened_at = self._renewed_at = clock.monotonic() - REOPEN_SECONDS

    def request(self, event: StartRequested) -> None:
        """Take a request: stored, then answered. A repeat has no second effect, and the answer again."""
        problem = problem_of(event)
        if problem is not None:
            self._announcements.refuse(event, problem)
            return
        taken = self._store.take_request(event)
        before = taken.before
        if taken.is_repeat and before is not None:
            self._announcements.answer(event, taken, before, taken.last_error if before == "rejected" else None)
        elif before in {"paused", "cancelled"}:
            self._announcements.answer(event, taken, "rejected", f"the task is {before}")
        else:
            self._announcements.answer(event, taken, "calling" if before == "calling" else "starting")
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
        except CallstreamError as error:
            problem = str(error)
            if isinstance(error, RetryableError) and error.retry_after is not None:
                due_in = min(max(due_in, error.retry_after), LONGEST_RETRY)
            if problem != task.last_error:  # said once, not at every look
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
        if task.pending_order is not None:
            return AT_ONCE if self._orders.enforce(task, task.pending_order) else SOON
        if task.state not in {"starting", "calling"}:
            return LATER
        leads = self._store.waiting_leads(task.task_id)
        if not needs_listing(leads, self._policy, now=task.now):
            leads = []
        if leads:
            ready = task if task.job_group_id else self._with_group(task)
            if ready is None or ready.job_group_id is None:
                return SOON
            self._assigner.assign(ready, ready.job_group_id, leads)
        if task.state == "starting":
            self._announcements.progress(task, "calling")
            self._store.set_calling(task)
        return SOON if leads else LATER

    def _with_group(self, task: LeasedTask) -> LeasedTask | None:
        """Return the task with a group of its own, None where it has to wait or is rejected."""
        try:
            return self._groups.of(task)
        except RejectedError as error:
            field = field_of_refusal(error.code or "", has_script=bool(task.group_options(self._settings).script_id))
            reason = f"{field}: {error}" if field else str(error)
            if self._store.reject(task.task_id, reason):
                log.warning("task.rejected", task_id=task.task_id, error=reason)
                self._announcements.progress(task, "rejected", reason)
            return None

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
            self._looked_up_to = self._store.reopen(self._looked_up_to)
