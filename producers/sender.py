"""Sending leads to the cloud: nothing that was not marked a moment before, under a lease that holds, and each once.

A mark brings the whole task into doubt before its call goes out. Only who sent the call may go on while that doubt
lasts, and only for as long as every answer is clear. What the cloud refuses is halved until the bad contacts stand
alone; whatever else goes wrong ends the sending and leaves the doubt behind, and so does a death. A refusal that comes
with 200 is such a doubt; the chunks after it are smaller, so that a bad contact stands alone in the end here too.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Protocol

from producers.assignment import CHUNK, FRESH_SECONDS, AssignmentPolicy, WaitingLead, chunks, problem_of
from producers.cloud.errors import UnclearAnswerError, plain
from producers.cloud.payloads import Contact
from producers.task_store import LeasedTask, TaskStore
from runtime import metrics
from runtime.clock import Clock
from runtime.errors import RejectedError, RetryableError
from runtime.logs import get_logger
from schemas.ids import JobGroupId, ReferenceId

# Refusals that are not about a contact, so that halving a chunk would help nobody.
NOT_OF_CONTACTS: Final = ("NotExist.", "LimitExceeded", "HandleJobGroupError")

log = get_logger(__name__)


class LeaseLostError(RetryableError):
    """Somebody else has the task, or stopped it: nothing more may be sent, and nothing was."""


class SendingCloud(Protocol):
    """What is needed of the cloud; errors as `CloudClient` raises them."""

    def assign_jobs(  # noqa: D102
        self, group_id: JobGroupId, contacts: Sequence[Contact], *, guard: Callable[[], None]
    ) -> None: ...


class Sender:
    """Sends leads of one task during one lease.

    `sent` are those that the cloud said to have taken; `doubt_until` is the task's doubt as we know it. A mark is made
    only where the table still says so: a doubt that somebody else has added since stops us. `size` is how many leads a
    chunk has at most, also of the next sender of the task.
    """

    def __init__(
        self,
        task: LeasedTask,
        group_id: JobGroupId,
        *,
        store: TaskStore,
        cloud: SendingCloud,
        policy: AssignmentPolicy,
        clock: Clock,
        size: int = CHUNK,
    ) -> None:
        self.size = size
        self.sent: dict[ReferenceId, WaitingLead] = {}
        self.doubt_until = task.doubt_until
        self._task = task
        self._group_id = group_id
        self._store = store
        self._cloud = cloud
        self._policy = policy
        self._clock = clock

    def send(self, leads: Iterable[WaitingLead], is_stopping: Callable[[], bool]) -> None:
        """Send leads in chunks, until `is_stopping` or the lease is lost; raises the cloud's error at a doubt."""
        try:
            for chunk in chunks(self._sendable(leads)):
                rest: Sequence[WaitingLead] = chunk
                while rest and not is_stopping():
                    portion, rest = rest[: self.size], rest[self.size :]
                    self._send(portion)
        except LeaseLostError as error:
            log.warning("task.lease_lost", task_id=self._task.task_id, error=str(error))

    def _sendable(self, leads: Iterable[WaitingLead]) -> Iterator[WaitingLead]:
        """Yield leads that a call can carry; the others are refused without asking the cloud."""
        for lead in leads:
            problem = problem_of(lead.contact)
            if problem is None:
                yield lead
            else:
                self._refuse(lead, problem)

    def _send(self, portion: Sequence[WaitingLead]) -> None:
        """Mark a portion and send it, once; in halves where it is refused as a whole."""
        asked_at = self._clock.monotonic()  # before the mark: its answer may be long on its way
        marked = self._mark(portion)
        chunk = [lead for lead in portion if lead.contact.reference_id in marked]

        def guard() -> None:
            """Mark again where the turn of the call was long in coming."""
            if self._clock.monotonic() - asked_at <= FRESH_SECONDS:
                return
            again_at = self._clock.monotonic()
            if len(self._mark(chunk)) != len(chunk):
                raise LeaseLostError("a lead got a job while it waited for its turn")
            if self._clock.monotonic() - again_at > FRESH_SECONDS:
                raise LeaseLostError("the database is too slow for a mark to be fresh")

        try:
            self._cloud.assign_jobs(self._group_id, [lead.contact for lead in chunk], guard=guard)
        except LeaseLostError:
            raise
        except RejectedError as error:
            metrics.ASSIGNMENTS.labels("refused").inc(len(chunk))
            self._divide(chunk, error)
        except RetryableError as error:
            metrics.ASSIGNMENTS.labels("doubtful").inc(len(chunk))
            self._store.doubt(self._task, self._policy.settle)
            self._suspect(chunk, error)
            raise
        else:
            metrics.ASSIGNMENTS.labels("sent").inc(len(chunk))
            self.size = min(2 * self.size, CHUNK)
            self.sent |= {lead.contact.reference_id: lead for lead in chunk}

    def _divide(self, chunk: Sequence[WaitingLead], error: RejectedError) -> None:
        """Send the halves of a refused chunk; a lead that is refused alone is held from now on."""
        if (error.code or "").startswith(NOT_OF_CONTACTS):
            raise error
        if len(chunk) == 1:
            self._refuse(chunk[0], f"the cloud refuses it: {error.code}")
            return
        middle = len(chunk) // 2
        self._send(chunk[:middle])
        self._send(chunk[middle:])

    def _suspect(self, chunk: Sequence[WaitingLead], error: RetryableError) -> None:
        """Have less sent at once where a contact seems to be bad; one that stood alone is held, as if it was taken."""
        refusal = plain(error) if isinstance(error, UnclearAnswerError) else error
        if not isinstance(refusal, RejectedError) or (refusal.code or "").startswith(NOT_OF_CONTACTS):
            return
        self.size = max(1, len(chunk) // 2)
        if len(chunk) == 1:
            self._refuse(chunk[0], f"the cloud refuses it: {refusal.code}", is_taken=True)

    def _mark(self, portion: Sequence[WaitingLead]) -> set[ReferenceId]:
        """Check and renew the lease by marking; raises LeaseLostError where nothing may be sent."""
        references = [lead.contact.reference_id for lead in portion]
        mark = self._store.mark(self._task, references, doubt_until=self.doubt_until, certainty=self._policy.certainty)
        if mark is None:
            raise LeaseLostError("the task is somebody else's, or stopped, or came into doubt")
        self.doubt_until = mark.doubt_until
        if not mark.references:
            raise LeaseLostError("every lead of the chunk got a job")
        return mark.references

    def _refuse(self, lead: WaitingLead, reason: str, *, is_taken: bool = False) -> None:
        self._store.hold(self._task.task_id, [lead], reason=reason, is_taken=is_taken)
        log.warning("lead.refused", task_id=self._task.task_id, reference_id=lead.contact.reference_id, reason=reason)
