"""Requests about a call task, and the answer to them."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from schemas.ids import CallJobId, EventId, RequestId, TaskId
from schemas.instants import Instant

RequestedAt = Annotated[Instant, Meta(description="When it was asked for.")]
TimeOfDay = Annotated[str, Meta(description="HH:MM.")]
TaskState = Annotated[
    Literal["starting", "calling", "paused", "cancelled", "done", "rejected"],
    Meta(description="What the task is doing, or that a request about it was rejected."),
]


class WorkingHours(msgspec.Struct, frozen=True, kw_only=True):
    """A daily span in which people may be called, `HH:MM` in the cloud instance's time zone."""

    begin: TimeOfDay
    end: TimeOfDay


class StartRequested(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Somebody wants a task's leads to be called; what is absent comes from the settings.

    Options that make no sense are decoded all the same: the answer to them is a `rejected` with a sentence.
    """

    task_id: TaskId
    request_id: RequestId | None = None
    requested_at: RequestedAt | None = None
    requested_by: Annotated[str, Meta(description="Who asked.")] | None = None
    name: Annotated[str, Meta(description="A name for people.")] | None = None
    script_id: Annotated[str, Meta(description="The cloud's script that the robot follows.")] | None = None
    calling_numbers: Annotated[tuple[str, ...], Meta(description="Numbers to call from.")] | None = None
    working_hours: Annotated[tuple[WorkingHours, ...], Meta(description="When people may be called.")] | None = None
    max_attempts_per_day: Annotated[int, Meta(description="Attempts at a person a day, 1 to 100.")] | None = None
    min_attempt_interval_minutes: Annotated[int, Meta(description="Pause between two, 1 to 1440.")] | None = None


class QueryRequested(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Somebody wants a task's calls to be looked at now; with `repair` every row is written again from the cloud."""

    task_id: TaskId
    request_id: RequestId | None = None
    requested_at: RequestedAt | None = None
    repair: Annotated[bool, Meta(description="Whether every row is written again, ended or not.")] | None = None


class TaskAnalysisRequested(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Somebody wants finished jobs of a task to be analysed again: the named ones, or all."""

    task_id: TaskId
    request_id: RequestId | None = None
    requested_at: RequestedAt | None = None
    call_job_ids: Annotated[tuple[CallJobId, ...], Meta(description="Which jobs; else all that ended.")] | None = None


class TaskStateChanged(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A task went on to `state`, or a request about it was `rejected` with a sentence in `reason`."""

    event_id: EventId
    task_id: TaskId
    state: TaskState
    changed_at: Annotated[Instant, Meta(description="When the state changed.")]
    reason: Annotated[str, Meta(description="Why, in a sentence.")] | None = None
    request_id: RequestId | None = None
