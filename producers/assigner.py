"""Having a task's waiting leads called: what one whole listing permits, and the news of what the cloud has."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

from producers.assignment import CHUNK, AssignmentPolicy, WaitingLead, Wave, plan_wave
from producers.sender import Sender, SendingCloud
from producers.task_store import LeasedTask, TaskStore
from runtime.clock import Clock
from runtime.kafka import Publisher, outgoing
from runtime.logs import get_logger
from schemas.ids import CallJobId, JobGroupId, ReferenceId, TaskId, event_id_for
from schemas.jobs import JobAssigned
from schemas.topics import JOB_ASSIGNED

REPEAT_SECONDS: Final = 15.0
UNLISTED: Final = "the cloud said that it took it, and does not list it"

log = get_logger(__name__)


class AssigningCloud(SendingCloud, Protocol):
    """What is needed of the cloud; errors as `CloudClient` raises them."""

    def list_group(self, group_id: JobGroupId) -> dict[ReferenceId, list[CallJobId]]: ...  # noqa: D102


class Assigner:
    """Assigns leads of leased tasks; shared by the threads of one starter, each with a task of its own."""

    def __init__(
        self,
        *,
        store: TaskStore,
        cloud: AssigningCloud,
        publisher: Publisher,
        policy: AssignmentPolicy,
        clock: Clock,
        is_stopping: Callable[[], bool],
    ) -> None:
        self._store = store
        self._cloud = cloud
        self._publisher = publisher
        self._policy = policy
        self._clock = clock
        self._is_stopping = is_stopping
        self._published: dict[ReferenceId, float] = {}
        self._sizes: dict[TaskId, int] = {}

    def adopt(self, task: LeasedTask, group_id: JobGroupId, leads: Iterable[WaitingLead]) -> Wave:
        """List the group and publish which of the leads have jobs; returns what follows for the others."""
        listing = self._cloud.list_group(group_id)
        wave = plan_wave(leads, listing, self._policy, now=task.now, doubt_until=task.doubt_until)
        if wave.duplicates:
            log.critical("task.called_twice", task_id=task.task_id, references=len(wave.duplicates))
        self._publish_assigned(task.task_id, group_id, wave.adopted)
        return wave

    def assign(self, task: LeasedTask, group_id: JobGroupId, leads: Sequence[WaitingLead]) -> None:
        """Adopt what the cloud has already, and send what may be sent."""
        wave = self.adopt(task, group_id, leads)
        if not wave.assignable:
            return
        sender = Sender(
            task,
            group_id,
            store=self._store,
            cloud=self._cloud,
            policy=self._policy,
            clock=self._clock,
            size=self._sizes.pop(task.task_id, CHUNK),
        )
        try:
            sender.send(wave.assignable, self._is_stopping)
        finally:
            if sender.size < CHUNK:
                self._sizes[task.task_id] = sender.size
        listing = self._cloud.list_group(group_id)
        listed = {reference: min(listing[reference]) for reference in sender.sent if reference in listing}
        self._publish_assigned(task.task_id, group_id, listed)
        self._hold_unlisted(task, [lead for reference, lead in sender.sent.items() if reference not in listed])
        self._store.settle(task, sender.doubt_until)

    def _hold_unlisted(self, task: LeasedTask, leads: Sequence[WaitingLead]) -> None:
        """Never send again what the cloud said to have taken: it may list it later, or under another reference."""
        if leads:
            self._store.hold(task.task_id, leads, reason=UNLISTED, is_taken=True)
            log.error("leads.not_listed", task_id=task.task_id, leads=len(leads))

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

    def forget(self) -> None:
        """Forget what was published long enough ago to be said again."""
        now = self._clock.monotonic()
        for reference in [ref for ref, said_at in list(self._published.items()) if now - said_at >= REPEAT_SECONDS]:
            self._published.pop(reference, None)
