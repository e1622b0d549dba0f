"""Stopping a task and letting it go on: the database first, so that nothing more is assigned, then the cloud.

An emergency stop works while Kafka is away, and without a starter: the cloud is told here and now. What it could not
be told, and what a starter had in its hand meanwhile, the next starter that leases the task makes good (`orders`); it
also announces the new state.
"""

from typing import Final

from producers.orders import ObeyingCloud, tell
from producers.task_store import Order, Standing, TaskStore
from runtime.errors import CallstreamError
from schemas.ids import TaskId
from schemas.tasks import TaskState

STATES: Final[dict[Order, TaskState]] = {"suspend": "paused", "resume": "calling", "cancel": "cancelled"}
FROM: Final[dict[Order, tuple[TaskState, ...]]] = {
    "suspend": ("starting", "calling", "paused"),
    "resume": ("paused",),
    "cancel": ("starting", "calling", "paused", "done", "rejected", "cancelled"),
}


class NotToldError(CallstreamError):
    """The order stands, and nobody more is assigned; but the cloud was not reached, and a starter must tell it."""


class TaskControl:
    """Pauses, resumes and cancels one task at a time; each may be called again after any failure."""

    def __init__(self, store: TaskStore, cloud: ObeyingCloud) -> None:
        self._store = store
        self._cloud = cloud

    def pause(self, task_id: TaskId) -> None:
        """Assign nobody more and suspend the group."""
        self._order(task_id, "suspend")

    def resume(self, task_id: TaskId) -> None:
        """Let the group go on, and assign again; raises CallstreamError where the task is not paused."""
        self._order(task_id, "resume")

    def cancel(self, task_id: TaskId) -> None:
        """Assign nobody more and cancel every open job; this cannot be undone."""
        self._order(task_id, "cancel")

    def is_obeyed(self, task_id: TaskId) -> bool:
        """Return whether the last order is certainly obeyed, what was on its way when it was given included."""
        standing = self._standing(task_id)
        return standing.pending_order is None

    def _order(self, task_id: TaskId, order: Order) -> None:
        before = self._standing(task_id)
        if not self._store.order(task_id, STATES[order], order, allowed=FROM[order]):
            wanted = "paused" if order == "resume" else "started"
            raise CallstreamError(f"task {task_id} is not {wanted}: it is {before.state or 'new'}")
        group_id = self._standing(task_id).job_group_id
        if group_id is None:
            return
        try:
            tell(self._cloud, order, group_id)
        except CallstreamError as error:
            raise NotToldError(
                f"task {task_id} is {STATES[order]} and nobody more is assigned, but the cloud was not told: {error};"
                " a starter goes on trying"
            ) from None

    def _standing(self, task_id: TaskId) -> Standing:
        standing = self._store.standing(task_id)
        if standing is None:
            raise CallstreamError(f"there is no task {task_id}")
        return standing
