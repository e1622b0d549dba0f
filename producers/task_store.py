"""What the starter keeps in PostgreSQL: requests, leases, groups, marks and states of call tasks.

The database's clock decides leases and doubt. Every method is one transaction; RetryableError where it is away.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal

import msgspec
from psycopg.types.json import Jsonb

from producers.assignment import WaitingLead
from producers.cloud.payloads import Contact, GroupOptions
from runtime.postgres import Database
from runtime.settings import CloudSettings
from runtime.sql import statement
from schemas.ids import JobGroupId, ReferenceId, RequestId, TaskId
from schemas.tasks import StartRequested, TaskState, WorkingHours

LEASE_SECONDS: Final = 12.0  # a killed starter's tasks go on within 15 s; marks, not leases, keep calls single
LEADS_PER_WAVE: Final = 2000
Order = Literal["suspend", "resume", "cancel"]
STOPPED: Final[frozenset[TaskState | None]] = frozenset({"paused", "cancelled"})
OPTION_FIELDS: Final = (
    "script_id",
    "calling_numbers",
    "working_hours",
    "max_attempts_per_day",
    "min_attempt_interval_minutes",
)


@dataclass(frozen=True, kw_only=True)
class LeasedTask:
    """A task that is ours for a while under `lease`; `now` is the database's clock when it was leased."""

    task_id: TaskId
    state: TaskState
    job_group_id: JobGroupId | None
    request_id: RequestId | None
    options: dict[str, Any] = field(default_factory=dict)
    doubt_until: datetime | None = None
    now: datetime
    lease: str
    due_at: datetime
    started_at: datetime | None = None
    pending_order: Order | None = None
    ordered_at: datetime | None = None
    last_error: str | None = None

    @property
    def is_in_doubt(self) -> bool:
        """Whether a call may still have an effect that nobody has seen."""
        return self.doubt_until is not None and self.now < self.doubt_until

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


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where a task stands: its state, its group, what the cloud has still to be told, and what went wrong."""

    state: TaskState | None
    job_group_id: JobGroupId | None
    pending_order: Order | None
    last_error: str | None


@dataclass(frozen=True, kw_only=True)
class Mark:
    """What may be sent, and the doubt in which the mark has left the task."""

    references: set[ReferenceId]
    doubt_until: datetime


@dataclass(frozen=True, kw_only=True)
class TakenRequest:
    """What a start request met: the task's state before, and whether it is the request that was taken last."""

    before: TaskState | None
    is_repeat: bool
    last_error: str | None
    started_at: datetime | None


class TaskStore:
    """The starter's side of `call_tasks`, and the marks on leads; `worker` tells this starter from others."""

    def __init__(self, database: Database, *, worker: str) -> None:
        self._database = database
        self._worker = worker

    def take_request(self, event: StartRequested) -> TakenRequest:
        """Store a start request and return what it met; a repeat, and one of a stopped task, changes nothing."""
        with self._database.transaction() as connection:
            row = connection.execute(statement("producers", "start_request"), {"task_id": event.task_id}).fetchone()
            before, request_id, last_error, started_at = row or (None, None, None, None)
            is_repeat = before is not None and event.request_id is not None and event.request_id == request_id
            if not is_repeat and before not in STOPPED:
                asked = msgspec.to_builtins(event)
                parameters = {
                    "task_id": event.task_id,
                    "name": event.name,
                    "request_id": event.request_id,
                    "options": Jsonb({name: asked[name] for name in OPTION_FIELDS if name in asked}),
                }
                row = connection.execute(statement("producers", "start_accept"), parameters).fetchone()
                started_at = row[0] if row else None
                connection.execute(statement("producers", "start_forgive"), {"task_id": event.task_id})
        return TakenRequest(before=before, is_repeat=is_repeat, last_error=last_error, started_at=started_at)

    def make_due(self, task_id: TaskId) -> None:
        """Have a started task looked at now."""
        self._execute("start_due", task_id=task_id)

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
                lease=row[7],
                due_at=row[8],
                started_at=row[9],
                pending_order=row[10],
                ordered_at=row[11],
                last_error=row[12],
            )
            for row in rows
        ]

    def renew(self, leases: Sequence[str]) -> None:
        """Keep tasks that take long."""
        self._execute("start_renew", leases=list(leases), seconds=LEASE_SECONDS)

    def release(self, task: LeasedTask, *, due_in: float, last_error: str | None) -> None:
        """Give a task back; it is due again in so many seconds, earlier where somebody asked, never where closed."""
        self._execute("start_release", lease=task.lease, due_at=task.due_at, seconds=due_in, last_error=last_error)

    def reopen(self, after: int = 0) -> int:
        """Have tasks looked at that got leads above `after`, finished ones too; returns where to begin next time."""
        with self._database.transaction() as connection:
            row = connection.execute(statement("producers", "start_reopen"), {"after": after}).fetchone()
        return int(row[0]) if row else 0

    def has_marks(self, task_id: TaskId) -> bool:
        """Return whether leads of the task were ever about to be sent, so that it had a group."""
        with self._database.transaction() as connection:
            row = connection.execute(statement("producers", "start_has_marks"), {"task_id": task_id}).fetchone()
        return bool(row and row[0])

    def set_group(self, task_id: TaskId, group_id: JobGroupId, *, is_created: bool, certainty: timedelta) -> JobGroupId:
        """Remember a task's job group; returns the one that counts, which may be another that was first.

        A group that was found brings the task into doubt: it may be of a life that this database knows nothing of.
        """
        parameters = {"task_id": task_id, "group_id": group_id, "is_created": is_created, "certainty": certainty}
        with self._database.transaction() as connection:
            row = connection.execute(statement("producers", "start_set_group"), parameters).fetchone()
        return JobGroupId(row[0]) if row else group_id

    def reject(self, task_id: TaskId, reason: str) -> bool:
        """Note that a started task cannot be done; returns whether it was still wanted."""
        return self._execute("start_reject", task_id=task_id, last_error=reason) > 0

    def order(self, task_id: TaskId, state: TaskState, order: Order, *, allowed: Sequence[TaskState]) -> bool:
        """Take a task from one of the allowed states to another, and have the cloud told; whether it was in one."""
        return self._execute("start_order", task_id=task_id, state=state, order=order, allowed=list(allowed)) > 0

    def obeyed(self, task: LeasedTask) -> None:
        """Note that the cloud has obeyed the task's order; nothing where another one was given meanwhile."""
        self._execute("start_obeyed", task_id=task.task_id, ordered_at=task.ordered_at, lease=task.lease)

    def set_calling(self, task: LeasedTask) -> None:
        """Note that the request was answered; nothing where the task was stopped or asked for anew meanwhile."""
        self._execute("start_calling", task_id=task.task_id, request_id=task.request_id)

    def standing(self, task_id: TaskId) -> Standing | None:
        """Return where a task stands, None where it is unknown."""
        with self._database.transaction() as connection:
            row = connection.execute(statement("producers", "start_standing"), {"task_id": task_id}).fetchone()
        return Standing(state=row[0], job_group_id=row[1], pending_order=row[2], last_error=row[3]) if row else None

    def expect(self, task: LeasedTask, certainty: timedelta) -> bool:
        """Remember that a group is about to be created; False where that may not be done: the lease is lost."""
        parameters = {"lease": task.lease, "doubt_until": task.doubt_until, "certainty": certainty}
        return self._execute("start_expect", task_id=task.task_id, **parameters) > 0

    def doubt(self, task: LeasedTask, settle: timedelta) -> None:
        """Remember that a call that has just ended may still have its effect."""
        self._execute("start_doubt", task_id=task.task_id, lease=task.lease, settle=settle)

    def settle(self, task: LeasedTask, doubt_until: datetime | None) -> None:
        """End the doubt in which our own marks have left the task: every call of ours was answered for certain."""
        self._execute("start_settle", task_id=task.task_id, lease=task.lease, doubt_until=doubt_until)

    def waiting_leads(self, task_id: TaskId) -> list[WaitingLead]:
        """Return leads without a job id, the oldest first, at most 2,000; what is held comes last."""
        with self._database.transaction() as connection:
            parameters = {"task_id": task_id, "limit": LEADS_PER_WAVE}
            rows = connection.execute(statement("producers", "assign_leads"), parameters).fetchall()
        return [
            WaitingLead(
                contact=Contact(reference_id=ReferenceId(row[0]), name=row[1], phone_number=row[2], extras=row[3]),
                marked_at=row[4],
                digest=row[5],
                is_held=row[6],
                taken_at=row[7],
            )
            for row in rows
        ]

    def mark(
        self,
        task: LeasedTask,
        references: Sequence[ReferenceId],
        *,
        doubt_until: datetime | None,
        certainty: timedelta,
    ) -> Mark | None:
        """Mark leads as about to be assigned, renew the lease, and bring the task into doubt for `certainty`.

        None where the lease was lost, the task was stopped, or its doubt is not `doubt_until` any more: then nothing
        may be sent.
        """
        parameters = {
            "task_id": task.task_id,
            "references": list(references),
            "lease": task.lease,
            "seconds": LEASE_SECONDS,
            "doubt_until": doubt_until,
            "certainty": certainty,
        }
        with self._database.transaction() as connection:
            row = connection.execute(statement("producers", "assign_mark"), parameters).fetchone()
        return Mark(doubt_until=row[0], references=set(row[1])) if row else None

    def hold(self, task_id: TaskId, leads: Sequence[WaitingLead], *, reason: str, is_taken: bool = False) -> None:
        """Keep leads from being tried again with the contact that they have, and say why."""
        self._execute(
            "assign_hold",
            task_id=task_id,
            references=[lead.contact.reference_id for lead in leads],
            contacts=[lead.digest for lead in leads],
            reason=reason,
            is_taken=is_taken,
        )

    def _execute(self, name: str, **parameters: object) -> int:
        with self._database.transaction() as connection:
            return connection.execute(statement("producers", name), parameters).rowcount
