"""Stopping and resuming a task: the database first, so that nothing more is assigned, then the cloud, then an event.

An emergency stop works while Kafka is away: the event is sent last, and what it could not say is said in the table.
"""

from typing import Protocol

from producers.task_store import TaskStore
from runtime.clock import Clock
from runtime.errors import CallstreamError, RetryableError
from runtime.kafka import Publisher, outgoing
from runtime.logs import get_logger
from schemas.ids import JobGroupId, TaskId, event_id_for
from schemas.instants import format_instant
from schemas.tasks import TaskState, TaskStateChanged
from schemas.topics import TASK_STATE_CHANGED

log = get_logger(__name__)


class StoppingCloud(Protocol):
    """What is needed of the cloud; errors as `CloudClient` raises them."""

    def suspend(self, group_id: JobGroupId) -> None: ...  # noqa: D102
    def resume(self, group_id: JobGroupId) -> None: ...  # noqa: D102
    def cancel(self, group_id: JobGroupId) -> None: ...  # noqa: D102


class TaskControl:
    """Pauses, resumes and cancels one task at a time; each may be called again after any failure."""

    def __init__(self, store: TaskStore, cloud: StoppingCloud, publisher: Publisher, clock: Clock) -> None:
        self._store = store
        self._cloud = cloud
        self._publisher = publisher
        self._clock = clock

    def pause(self, task_id: TaskId) -> None:
        """Assign nobody more and suspend the group."""
        group_id = self._require_group(task_id)
        self._store.set_state(task_id, "paused")
        self._cloud.suspend(group_id)
        self._announce(task_id, "paused")

    def resume(self, task_id: TaskId) -> None:
        """Let the group go on, and assign again."""
        group_id = self._require_group(task_id)
        self._cloud.resume(group_id)
        self._store.set_state(task_id, "calling")
        self._announce(task_id, "calling")

    def cancel(self, task_id: TaskId) -> None:
        """Assign nobody more and cancel every open job; this cannot be undone."""
        group_id = self._require_group(task_id)
        self._store.set_state(task_id, "cancelled")
        self._cloud.cancel(group_id)
        self._announce(task_id, "cancelled")

    def _require_group(self, task_id: TaskId) -> JobGroupId:
        group_id = self._store.group_of(task_id)
        if group_id is None:
            raise CallstreamError(f"task {task_id} has not been started")
        return group_id

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
