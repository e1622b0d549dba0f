"""Having a task's waiting leads called: what one listing permits, a chunk at a time, and the news of it.

Nothing is sent that was not marked a moment before under a lease that holds. What the cloud refuses is halved until the
bad contacts stand alone; whatever else goes wrong is doubt, is stored, and ends the wave.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from producers.assignment import FRESH_SECONDS, MAX_BYTES, AssignmentPolicy, Listing, WaitingLead, chunks, plan_wave
from producers.cloud.payloads import Contact, encoded_size
from producers.task_store import LeasedTask, TaskStore
from runtime import metrics
from runtime.clock import Clock
from runtime.errors import RejectedError, RetryableError
from runtime.kafka import Publisher, outgoing
from runtime.logs import get_logger
from schemas.ids import CallJobId, JobGroupId, ReferenceId, TaskId, event_id_for
from schemas.jobs import JobAssigned
from schemas.topics import JOB_ASSIGNED

REPEAT_SECONDS: Final = 15.0
FORGIVE_SECONDS: Final = 600.0
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
    """What is needed of the cloud; errors as `CloudClient` raises them."""

    def list_group(self, group_id: JobGroupId) -> dict[ReferenceId, list[CallJobId]]: ...  # noqa: D102
    def assign_jobs(  # noqa: D102
        self, group_id: JobGroupId, contacts: Sequence[Contact], *, guard: Callable[[], None]
    ) -> None: ...


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
        self._refused: dict[TaskId, dict[ReferenceId, Refusal]] = {}  # of a task: touched by who has its lease
        self._published: dict[ReferenceId, float] = {}

    def assign(self, task: LeasedTask, group_id: JobGroupId, leads: Sequence[WaitingLead]) -> None:
        """Adopt what the cloud has already, and send what may be sent."""
        wave = plan_wave(
            leads,
            self._cloud.list_group(group_id),
            self._policy,
            now=task.now,
            # Before its group is known to us, nobody of a task was ever assigned: that doubt was about the group.
            doubt_until=task.doubt_until if task.job_group_id else None,
            refused=frozenset(self.refusals(task.task_id)),
        )
        if wave.duplicates:
            log.critical("task.called_twice", task_id=task.task_id, references=len(wave.duplicates))
        self._publish_assigned(task.task_id, group_id, wave.adopted)
        if wave.assignable:
            sent = self._send_all(task, group_id, wave.assignable)
            self._publish_assigned(task.task_id, group_id, _jobs_of(sent, self._cloud.list_group(group_id)))

    def _send_all(self, task: LeasedTask, group_id: JobGroupId, contacts: Sequence[Contact]) -> set[ReferenceId]:
        """Send contacts in chunks; stops at the first doubt. Returns the references that were sent for certain."""
        sent: set[ReferenceId] = set()
        for chunk in chunks(self._without_oversized(task.task_id, contacts)):
            if self._is_stopping():
                break
            try:
                sent |= self._send(task, group_id, chunk)
            except LeaseLostError:
                log.warning("task.lease_lost", task_id=task.task_id)
                break
        return sent

    def _without_oversized(self, task_id: TaskId, contacts: Sequence[Contact]) -> Iterator[Contact]:
        """Yield contacts that one call can carry; the others are refused without asking the cloud."""
        for contact in contacts:
            if encoded_size(contact) <= MAX_BYTES:
                yield contact
            else:
                self._refuse(task_id, contact.reference_id, RejectedError("the lead is too large", code="LeadTooLarge"))

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

    def refusals(self, task_id: TaskId) -> Mapping[ReferenceId, Refusal]:
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

    def forget(self) -> None:
        """Forget what was published long enough ago to be said again."""
        now = self._clock.monotonic()
        for reference in [ref for ref, said_at in list(self._published.items()) if now - said_at >= REPEAT_SECONDS]:
            self._published.pop(reference, None)


def _jobs_of(sent: set[ReferenceId], listing: Listing) -> dict[ReferenceId, CallJobId]:
    return {reference: min(listing[reference]) for reference in sent if reference in listing}
