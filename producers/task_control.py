"""Stopping and resuming a task: the database first, so that nothing more is assigned, then the cloud, then an event.

An emergency stop works while Kafka is away: the event is sent last, and what it could not say is said in the table.
"""

import time
from collections.abc import Callable
from typing import Final, Protocol

from producers.task_store import Standing, TaskStore
from runtime.clock import Clock
from runtime.errors import CallstreamError, RetryableError
from runtime.kafka import Publisher, outgoing
from runtime.logs import get_logger
from schemas.ids import JobGroupId, TaskId, event_id_for
from schemas.instants import format_instant
from schemas.tasks import TaskState, TaskStateChanged
from schemas.topics import TASK_STATE_CHANGED

PATIENCE_SECONDS: Final = 30.0
LOOK_SECONDS: Final = 0.2

log = get_logger(__name__)


class StoppingCloud(Protocol):
    """What is needed of the cloud; errors as `CloudClient` raises them."""

    def suspend(self, group_id: JobGroupId) -> None: ...  # noqa: D102
    def resume(self, group_id: JobGroupId) -> None: ...  # noqa: D102
    def cancel(self, group_id: JobGroupId) -> None: ...  # noqa: D102


class TaskControl:
    """Pauses, resumes and cancels one task at a time; each may be called again after any failure.

    A starter may have a chunk in its hand when a task is stopped. So the cloud is told at once, and once more when the
    starter has let go of the task: what was assigned in between is stopped too. That takes `patience` seconds at most.
    """

    def __init__(
        self,
        store: TaskStore,
        cloud: StoppingCloud,
        publisher: Publisher,
        clock: Clock,
        *,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._store = store
        self._cloud = cloud
        self._publisher = publisher
        self._clock = clock
        self._patience = patience

    def pause(self, task_id: TaskId) -> None:
        """Assign nobody more and suspend the group."""
        self._stop(task_id, "paused", ("starting", "calling", "paused"), self._cloud.suspend)

    def resume(self, task_id: TaskId) -> None:
        """Let the group go on, and assign again; raises CallstreamError where the task is not paused."""
        standing = self._require(task_id, ("paused",), "paused")
        if standing.job_group_id is not None:
            self._cloud.resume(standing.job_group_id)
        if not self._store.set_state(task_id, "calling", allowed=("paused",)):
            raise CallstreamError(f"task {task_id} is not paused any more")
        self._announce(task_id, "calling")

    def cancel(self, task_id: TaskId) -> None:
        """Assign nobody more and cancel every open job; this cannot be undone."""
        allowed: tuple[TaskState, ...] = ("starting", "calling", "paused", "done", "rejected", "cancelled")
        self._stop(task_id, "cancelled", allowed, self._cloud.cancel)

    def _stop(
        self,
        task_id: TaskId,
        state: TaskState,
        allowed: tuple[TaskState, ...],
        order: Callable[[JobGroupId], None],
    ) -> None:
        self._require(task_id, allowed, "started")
        if not self._store.set_state(task_id, state, allowed=allowed):
            raise CallstreamError(f"task {task_id} is not started any more")
        standing = self._require(task_id, (state,), state)
        if standing.job_group_id is not None:
            order(standing.job_group_id)
        if standing.is_leased:
            standing = self._wait_for_starter(task_id, standing)
            if standing.job_group_id is not None:
                order(standing.job_group_id)
        self._announce(task_id, state)

    def _wait_for_starter(self, task_id: TaskId, standing: Standing) -> Standing:
        deadline = self._clock.monotonic() + self._patience
        while standing.is_leased and self._clock.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
            standing = self._store.standing(task_id) or standing
        return standing

    def _require(self, task_id: TaskId, allowed: tuple[TaskState, ...], wanted: str) -> Standing:
        standing = self._store.standing(task_id)
        if standing is None or standing.state not in allowed:
            raise CallstreamError(f"task {task_id} is not {wanted}")
        return standing

    def _announce(self, task_id: TaskId, state: TaskState) -> None:
        now = self._clock.now()
        event = TaskStateChanged(
            event_id=event_id_for(TASK_STATE_CHANGED.name, task_id, state, format_instant(now)),
            task_id=task_id,
            state=state,
            changed_at=now,
        )
        try:
            self._publisher.publish([outgoing(TASK_STATE_CHANGED, event, source="cli")])
        except RetryableError as error:
            log.warning("task.state_not_announced", task_id=task_id, state=state, error=str(error))
