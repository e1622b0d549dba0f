"""Requests for analysis become one event per finished job, with what the database holds of it.

People's requests are forced. The audit asks without force: where a follow-up is only late, that changes nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec
from psycopg.rows import kwargs_row

from runtime.clock import Clock
from runtime.dead_letters import Origin
from runtime.kafka import Publisher, outgoing
from runtime.logs import get_logger
from runtime.postgres import Database
from runtime.sql import statement
from schemas.followups import JobAnalysisRequested
from schemas.ids import CallJobId, EventId, RequestId, TaskId, event_id_for
from schemas.jobs import Turn
from schemas.tasks import TaskAnalysisRequested
from schemas.topics import JOB_ANALYSIS_REQUESTED

SOURCE: Final = "poll"
FINISHED: Final = ("Succeeded", "Failed")
CHUNK: Final = 500

_conversations: Final = msgspec.json.Decoder(tuple[Turn, ...])
log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class FinishedJob:
    """What the table holds of a finished job; the conversation is JSON."""

    id: int
    task_id: TaskId
    call_job_id: CallJobId
    call_status: str
    call_conversation: str | None
    status_version: int
    follow_version: int

    def turns(self) -> tuple[Turn, ...] | None:
        """Return the conversation, None where somebody wrote one by hand that is none."""
        try:
            return _conversations.decode(self.call_conversation) if self.call_conversation else ()
        except msgspec.DecodeError:
            return None

    def request(
        self, event_id: EventId, requested_at: datetime, *, is_forced: bool, request_id: RequestId | None = None
    ) -> JobAnalysisRequested | None:
        """Return the event that asks for this job's analysis, None where its conversation cannot be read."""
        turns = self.turns()
        if turns is None:
            log.warning("analysis.unreadable_conversation", call_job_id=self.call_job_id)
            return None
        return JobAnalysisRequested(
            event_id=event_id,
            task_id=self.task_id,
            call_job_id=self.call_job_id,
            call_status=self.call_status,
            call_conversation=turns,
            status_version=self.status_version,
            follow_version=self.follow_version,
            is_forced=is_forced,
            requested_at=requested_at,
            request_id=request_id,
        )


class Expander:
    """Reads finished jobs and asks for their analysis, 500 at a time; raises RetryableError where something is away."""

    def __init__(self, database: Database, publisher: Publisher, clock: Clock) -> None:
        self._database = database
        self._publisher = publisher
        self._clock = clock

    def expand(self, event: TaskAnalysisRequested, origin: Origin, *, is_forced: bool = True) -> int:
        """Ask for every finished job of the task, or the named ones of them; returns how many there are.

        The same request again makes the same events again, by which they are known as repeats. Without force each job
        gets the record that it had.
        """
        asked_by = event.request_id or f"{origin.topic}/{origin.partition}/{origin.offset}"
        requested_at = event.requested_at or self._clock.now()
        wanted = None if event.call_job_ids is None else list(event.call_job_ids)
        count, after = 0, 0
        while jobs := self._read("expand_finished", {"task_id": event.task_id, "job_ids": wanted, "after": after}):
            self._publish(
                job.request(
                    event_id_for(JOB_ANALYSIS_REQUESTED.name, job.call_job_id, asked_by),
                    requested_at,
                    is_forced=is_forced,
                    request_id=event.request_id,
                )
                for job in jobs
            )
            count, after = count + len(jobs), jobs[-1].id
        return count

    def ask_again(self, jobs: Sequence[FinishedJob]) -> None:
        """Ask, without force, for jobs whose follow-up is missing; the same state of a row is the same question."""
        now = self._clock.now()
        self._publish(
            job.request(
                event_id_for(
                    JOB_ANALYSIS_REQUESTED.name, job.call_job_id, "audit", job.status_version, job.follow_version
                ),
                now,
                is_forced=False,
            )
            for job in jobs
        )

    def _read(self, name: str, parameters: Mapping[str, object]) -> Sequence[FinishedJob]:
        limits = {"statuses": list(FINISHED), "limit": CHUNK}
        rows = kwargs_row(FinishedJob)
        with self._database.transaction() as connection, connection.cursor(row_factory=rows) as cursor:
            return cursor.execute(statement("producers", name), {**parameters, **limits}).fetchall()

    def _publish(self, events: Iterable[JobAnalysisRequested | None]) -> None:
        self._publisher.publish(
            outgoing(JOB_ANALYSIS_REQUESTED, event, source=SOURCE) for event in events if event is not None
        )
