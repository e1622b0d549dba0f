"""The cloud's JSON to our values and back. Pure: what the cloud means, in one place.

The order of a job's attempts is not documented, so the latest is the one that was placed, or planned, last. Fields may
be null or absent; text may hold what no database stores. What cannot be mapped is refused by the field's name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time
from typing import Any, Final
from urllib.parse import quote_plus

import orjson

from schemas.codec import REPLACEMENT, UNSTORABLE
from schemas.ids import CallJobId, CallTaskId, ReferenceId, TaskId
from schemas.instants import from_milliseconds
from schemas.jobs import ENDED_STATUSES, JobSnapshot, Turn
from schemas.tasks import WorkingHours

Payload = Mapping[str, Any]

MAX_ID_LENGTH: Final = 128


class MappingError(ValueError):
    """A job of the cloud's answer is not what its documentation says; the message names the field."""


@dataclass(frozen=True, kw_only=True)
class StoredJob:
    """What the database holds of a job when it is looked at."""

    task_id: TaskId
    reference_id: ReferenceId
    call_job_id: CallJobId
    status_version: int
    call_status: str | None


@dataclass(frozen=True, kw_only=True)
class Contact:
    """A lead as the cloud is asked to call it."""

    reference_id: ReferenceId
    name: str = field(repr=False)
    phone_number: str = field(repr=False)
    extras: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class GroupOptions:
    """With what a job group is created; what is None the cloud decides."""

    script_id: str | None = None
    calling_numbers: Sequence[str] = ()
    working_hours: Sequence[WorkingHours] = ()
    max_attempts_per_day: int | None = None
    min_attempt_interval_minutes: int | None = None


def job_snapshot(job: Payload, stored: StoredJob) -> JobSnapshot:
    """Return a job of a ListJobs answer as an observation; raises MappingError."""
    status = _text(job, "Status")
    if not status:
        raise MappingError("Status is missing")
    attempt = _latest(_list(job, "Tasks"))
    started_at = _instant(attempt, "ActualTime")
    duration = attempt.get("Duration")
    if duration is not None and (not isinstance(duration, int) or isinstance(duration, bool)):
        raise MappingError("Tasks.Duration is no integer")
    ended_at = None
    if status in ENDED_STATUSES and duration is not None and started_at is not None:
        ended_at = _from_milliseconds("Tasks.Duration", attempt["ActualTime"] + duration * 1000)
    call_task_id = _identifier(attempt, "TaskId")
    return JobSnapshot(
        task_id=stored.task_id,
        reference_id=stored.reference_id,
        call_job_id=stored.call_job_id,
        call_status=status,
        call_conversation=tuple(map(_turn, _list(attempt, "Conversation"))),
        stored_version=stored.status_version,
        stored_status=stored.call_status,
        planed_time=_instant(attempt, "PlanedTime"),
        call_task_id=CallTaskId(call_task_id) if call_task_id else None,
        calling_number=_text(attempt, "CallingNumber"),
        failure_reason=_text(job, "FailureReason"),
        started_at=started_at,
        ended_at=ended_at,
    )


def not_existing(stored: StoredJob) -> JobSnapshot:
    """Return the observation of a job that the cloud does not know."""
    return JobSnapshot(
        task_id=stored.task_id,
        reference_id=stored.reference_id,
        call_job_id=stored.call_job_id,
        call_status="NotExist",
        call_conversation=(),
        stored_version=stored.status_version,
        stored_status=stored.call_status,
    )


def job_id_of(job: Payload) -> CallJobId:
    """Return a job's id; raises MappingError where it has none."""
    identifier = _identifier(job, "JobId")
    if not identifier:
        raise MappingError("JobId is missing")
    return CallJobId(identifier)


def reference_of(job: Payload) -> ReferenceId | None:
    """Return the reference by which a listed job may be ours: its contact's, else its own; none that is no id."""
    for source in (*_list(job, "Contacts"), job):
        reference = _text(source, "ReferenceId")
        if reference:
            return ReferenceId(reference) if len(reference) <= MAX_ID_LENGTH else None
    return None


def working_hours(group: Payload) -> tuple[tuple[time, time], ...]:
    """Return when a described group calls people, by its own clock; nothing where one of its periods is unreadable."""
    strategy = group.get("Strategy")
    periods = strategy.get("WorkingTime") if isinstance(strategy, Mapping) else None
    try:
        found = [
            (time.fromisoformat(period["BeginTime"]), time.fromisoformat(period["EndTime"])) for period in periods or ()
        ]
    except (KeyError, TypeError, ValueError):
        return ()
    is_readable = all(begin.tzinfo is None and end.tzinfo is None and begin < end for begin, end in found)
    return tuple(found) if is_readable else ()


def job_json(contact: Contact) -> str:
    """Return one element of AssignJobs' JobsJson."""
    person = {
        "phoneNumber": contact.phone_number,
        "name": contact.name,
        "referenceId": contact.reference_id,
    }
    extras = [{"key": key, "value": value} for key, value in contact.extras.items()]
    return orjson.dumps({"contacts": [person], "extras": extras}).decode()


def encoded_size(contact: Contact) -> int:
    """Return how many bytes a contact takes of the query string in which AssignJobs is sent."""
    return len(quote_plus(job_json(contact)))


def strategy_json(options: GroupOptions) -> str:
    """Return the StrategyJson of a job group."""
    strategy: dict[str, object] = {"repeatBy": "Once"}
    if options.working_hours:
        strategy["workingTime"] = [
            {"beginTime": f"{hours.begin}:00", "endTime": f"{hours.end}:00"} for hours in options.working_hours
        ]
    if options.max_attempts_per_day is not None:
        strategy["maxAttemptsPerDay"] = options.max_attempts_per_day
    if options.min_attempt_interval_minutes is not None:
        strategy["minAttemptInterval"] = options.min_attempt_interval_minutes
    return orjson.dumps(strategy).decode()


def _latest(attempts: Sequence[Payload]) -> Payload:
    """Return the attempt that was placed last, or planned last where none was placed; empty where there is none."""

    def placed(attempt: Payload) -> int:
        time = attempt.get("ActualTime") or attempt.get("PlanedTime")
        return time if isinstance(time, int) else 0

    return attempts[0] if len(attempts) == 1 else max(attempts, key=placed, default={})


def _turn(turn: Payload) -> Turn:
    return Turn(
        speaker=_text(turn, "Speaker") or "",
        script=_text(turn, "Script") or "",
        at=_instant(turn, "Timestamp"),
    )


def _list(payload: Payload, name: str) -> Sequence[Payload]:
    value = payload.get(name) or ()
    if not isinstance(value, list | tuple) or not all(isinstance(item, dict) for item in value):
        raise MappingError(f"{name} is no list of objects")
    return value


def _text(payload: Payload, name: str) -> str | None:
    value = payload.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise MappingError(f"{name} is no text")
    return (
        value if value.isprintable() else value.translate(UNSTORABLE)
    )  # the test takes a tenth of the cleaning's time


def _identifier(payload: Payload, name: str) -> str | None:
    value = _text(payload, name)
    if value and (len(value) > MAX_ID_LENGTH or REPLACEMENT in value):
        raise MappingError(f"{name} is no id")
    return value


def _instant(payload: Payload, name: str) -> datetime | None:
    value = payload.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise MappingError(f"{name} is no integer")
    return _from_milliseconds(name, value) if value else None  # a number that was not set, not the year 1970


def _from_milliseconds(name: str, value: int) -> datetime:
    try:
        return from_milliseconds(value)
    except OverflowError as error:
        raise MappingError(f"{name} is no time") from error
