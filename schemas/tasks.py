"""Requests about a call task, and the answer to them."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from schemas.ids import CallJobId, EventId, RequestId, TaskId
from schemas.instants import Instant

TimeOfDay = Annotated[str, Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
TaskState = Literal["starting", "calling", "paused", "cancelled", "done", "rejected"]


class WorkingHours(msgspec.Struct, frozen=True, kw_only=True):
    """A daily span in which people may be called, `HH:MM` in the cloud instance's time zone."""

    begin: TimeOfDay
    end: TimeOfDay


class StartRequested(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Somebody wants a task's leads to be called; what is absent comes from the settings."""

    task_id: TaskId
    request_id: RequestId | None = None
    requested_at: Instant | None = None
    requested_by: str | None = None
    name: str | None = None
    script_id: str | None = None
    calling_numbers: tuple[str, ...] | None = None
    working_hours: tuple[WorkingHours, ...] | None = None
    max_attempts_per_day: Annotated[int, Meta(ge=1, le=100)] | None = None
    min_attempt_interval_minutes: Annotated[int, Meta(ge=1, le=1440)] | None = None


class QueryRequested(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Somebody wants a task's calls to be looked at now; with `repair` every row is written again from the cloud."""

    task_id: TaskId
    request_id: RequestId | None = None
    requested_at: Instant | None = None
    repair: bool | None = None


class TaskAnalysisRequested(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Somebody wants finished jobs of a task to be analysed again: the named ones, or all."""

    task_id: TaskId
    request_id: RequestId | None = None
    requested_at: Instant | None = None
    call_job_ids: tuple[CallJobId, ...] | None = None


class TaskStateChanged(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A task went on to `state`, or a request about it was `rejected` with a sentence in `reason`."""

    event_id: EventId
    task_id: TaskId
    state: TaskState
    changed_at: Instant
    reason: str | None = None
    request_id: RequestId | None = None
