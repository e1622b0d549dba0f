"""What the world is told of a task's state: the answer to a request, and what people ordered."""

from datetime import datetime

from producers.task_store import LeasedTask, TakenRequest
from runtime.clock import Clock
from runtime.kafka import Publisher, outgoing
from schemas.ids import RequestId, TaskId, event_id_for
from schemas.instants import to_milliseconds
from schemas.tasks import StartRequested, TaskState, TaskStateChanged
from schemas.topics import TASK_STATE_CHANGED


class Announcements:
    """Publishes states, each under an id that a repeat of the same has again, and no later start or order."""

    def __init__(self, publisher: Publisher, clock: Clock) -> None:
        self._publisher = publisher
        self._clock = clock

    def refuse(self, event: StartRequested, reason: str) -> None:
        """Answer a request that was not taken."""
        self._publish(event.task_id, "rejected", event.request_id, None, reason)

    def answer(self, event: StartRequested, taken: TakenRequest, state: TaskState, reason: str | None = None) -> None:
        """Answer a request that was taken, or met a task that is stopped."""
        self._publish(event.task_id, state, event.request_id, taken.started_at, reason)

    def progress(self, task: LeasedTask, state: TaskState, reason: str | None = None) -> None:
        """Say what became of the request that was taken last."""
        self._publish(task.task_id, state, task.request_id, task.started_at, reason)

    def ordered(self, task: LeasedTask) -> None:
        """Say that a person stopped the task, or let it go on."""
        self._publish(task.task_id, task.state, None, task.ordered_at, None)

    def _publish(
        self,
        task_id: TaskId,
        state: TaskState,
        request_id: RequestId | None,
        began_at: datetime | None,
        reason: str | None,
    ) -> None:
        round_id = request_id or (to_milliseconds(began_at) if began_at else "")
        event = TaskStateChanged(
            event_id=event_id_for(TASK_STATE_CHANGED.name, task_id, state, round_id, reason or ""),
            task_id=task_id,
            state=state,
            changed_at=self._clock.now(),
            reason=reason,
            request_id=request_id,
        )
        self._publisher.publish([outgoing(TASK_STATE_CHANGED, event, source="start")])
