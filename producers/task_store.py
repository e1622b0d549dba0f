"""What the starter keeps in PostgreSQL: requests, leases, groups, marks and states of call tasks.

The database's clock decides leases and doubt. Every method is one transaction; RetryableError where it is away.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import msgspec
from psycopg.types.json import Jsonb

from producers.assignment import WaitingLead
from producers.cloud.payloads import Contact, GroupOptions
from runtime.postgres import Database
from runtime.settings import CloudSettings
from runtime.sql import statement
from schemas.ids import JobGroupId, ReferenceId, RequestId, TaskId
from schemas.tasks import StartRequested, TaskState, WorkingHours

LEASE_SECONDS: Final = 30.0
LEADS_PER_WAVE: Final = 2000
OPTION_FIELDS: Final = (
    "script_id",
    "calling_numbers",
    "working_hours",
    "max_attempts_per_day",
    "min_attempt_interval_minutes",
)


@dataclass(frozen=True, kw_only=True)
class LeasedTask:
    """A task that is ours for a while; `now` is the database's clock when it was leased."""

    task_id: TaskId
    state: TaskState
    job_group_id: JobGroupId | None
    request_id: RequestId | None
    options: dict[str, Any] = field(default_factory=dict)
    doubt_until: datetime | None = None
    now: datetime

    def group_options(self, settings: CloudSettings) -> GroupOptions:
        """Return what the request asked for, and the settings where it said nothing."""
        asked = self.options
        hours = msgspec.convert(asked.get("working_hours") or [], tuple[WorkingHours, ...])
        return GroupOptions(
            script_id=asked.get("script_id") or settings.script_id,
            calling_numbers=asked.get("calling_numbers") or settings.calling_numbers,
            working_hours=hours,
            max_attempts_per_day=asked.get("max_attempts_per_day"),
            min_attempt_interval_minutes=asked.get("min_attempt_interval_minutes"),
        )


class TaskStore:
    """The starter's side of `call_tasks`, and the marks on leads; `worker` tells this starter from others."""

    def __init__(self, database: Database, *, worker: str) -> None:
        self._database = database
        self._worker = worker

    def take_request(self, event: StartRequested) -> TaskState | None:
        """Store a start request and return the state that the task was in; paused and cancelled tasks stay so."""
        with self._database.transaction() as connection:
            row = connection.execute(statement("producers", "start_request"), {"task_id": event.task_id}).fetchone()
            state: TaskState | None = row[0] if row else None
            if state not in {"paused", "cancelled"}:
                asked = msgspec.to_builtins(event)
                parameters = {
                    "task_id": event.task_id,
                    "name": event.name,
                    "request_id": event.request_id,
                    "options": Jsonb({name: asked[name] for name in OPTION_FIELDS if name in asked}),
                }
                connection.execute(statement("producers", "start_accept"), parameters)
        return state

    def lease(self, limit: int) -> list[LeasedTask]:
        """Take at most `limit` due tasks."""
        parameters = {"worker": self._worker, "seconds": LEASE_SECONDS, "limit": limit}
        with self._database.transaction() as connection:
            rows = connection.execute(statement("producers", "start_lease"), parameters).fetchall()
        return [
            LeasedTask(
                task_id=TaskId(row[0]),
                state=row[1],
                job_group_id=row[2],
                request_id=row[3],
                options=row[4],
                doubt_until=row[5],
                now=row[6],
            )
            for row in rows
        ]

    def release(self, task_id: TaskId, *, due_in: float | None, last_error: str | None) -> None:
        """Give a task back; it is due again in so many seconds, or never."""
        self._execute("start_release", task_id=task_id, worker=self._worker, seconds=due_in, last_error=last_error)

    def reopen(self) -> None:
        """Start finished tasks again that got leads since."""
        self._execute("start_reopen")

    def set_group(self, task_id: TaskId, group_id: JobGroupId) -> None:
        """Remember a task's job group."""
        self._execute("start_set_group", task_id=task_id, group_id=group_id)

    def set_state(self, task_id: TaskId, state: TaskState) -> None:
        """Let a task go on to another state."""
        self._execute("start_set_state", task_id=task_id, state=state)

    def group_of(self, task_id: TaskId) -> JobGroupId | None:
        """Return a task's job group, None where it has none yet."""
        with self._database.transaction() as connection:
            row = connection.execute(statement("producers", "start_group"), {"task_id": task_id}).fetchone()
        return JobGroupId(row[0]) if row and row[0] else None

    def doubt(self, task_id: TaskId, seconds: float) -> None:
        """Remember that an assignment may have had its effect."""
        self._execute("start_doubt", task_id=task_id, seconds=seconds)

    def waiting_leads(self, task_id: TaskId) -> list[WaitingLead]:
        """Return leads without a job id, the oldest first, at most 2,000."""
        with self._database.transaction() as connection:
            parameters = {"task_id": task_id, "limit": LEADS_PER_WAVE}
            rows = connection.execute(statement("producers", "assign_leads"), parameters).fetchall()
        return [
            WaitingLead(
                contact=Contact(reference_id=ReferenceId(row[0]), name=row[1], phone_number=row[2], extras=row[3]),
                marked_at=row[4],
            )
            for row in rows
        ]

    def mark(self, task_id: TaskId, references: Sequence[ReferenceId]) -> set[ReferenceId]:
        """Mark leads as about to be assigned, renew the lease, and return those that may be sent.

        Empty where the lease was lost or the task was stopped: then nothing may be sent.
        """
        parameters = {
            "task_id": task_id,
            "references": list(references),
            "worker": self._worker,
            "seconds": LEASE_SECONDS,
        }
        with self._database.transaction() as connection:
            rows = connection.execute(statement("producers", "assign_mark"), parameters).fetchall()
        return {ReferenceId(row[0]) for row in rows}

    def _execute(self, name: str, **parameters: object) -> None:
        with self._database.transaction() as connection:
            connection.execute(statement("producers", name), parameters)
