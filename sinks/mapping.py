"""What each kind of event means for the database: its key, its age, its row and its statements. Pure.

The kinds stand in the order in which a flush applies them, so that nothing rests on the order between topics.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec

from schemas.followups import FollowedUp
from schemas.instants import in_utc, to_milliseconds
from schemas.jobs import JobAssigned, JobRecorded, StatusChanged, Turn
from schemas.leads import LeadAdded
from schemas.topics import FOLLOWED_UP, JOB_ASSIGNED, JOB_RECORDED, LEAD_ADDED, STATUS_CHANGED, AnyTopic


class _Row(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One element of a statement's JSON parameter."""


class LeadRow(_Row, frozen=True, kw_only=True, gc=False):
    """A new row of `leads_task_list`."""

    task_id: str
    leads_id: str
    leads_name: str
    leads_phone: str
    reference_id: str
    call_time: datetime | None
    extras: dict[str, str]


class JobIdRow(_Row, frozen=True, kw_only=True, gc=False):
    """The job id of a lead."""

    reference_id: str
    call_job_id: str


class StatusRow(_Row, frozen=True, kw_only=True, gc=False):
    """The cloud's columns of a row."""

    call_job_id: str
    version: int
    call_status: str
    planed_time: datetime | None
    call_task_id: str | None
    call_conversation: tuple[Turn, ...]
    calling_number: str | None
    failure_reason: str | None
    started_at: datetime | None
    ended_at: datetime | None
    is_terminal: bool


class RecordingRow(_Row, frozen=True, kw_only=True, gc=False):
    """The recording of an attempt."""

    call_job_id: str
    call_task_id: str
    recording_url: str
    recorded_at: datetime | None


class FollowUpRow(_Row, frozen=True, kw_only=True, gc=False):
    """The follow-up record of a job."""

    call_job_id: str
    leads_follow_id: str
    version: int
    is_interested: int
    summary: str
    analyzer: str
    analyzed_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of record: of equal `key` and `variant` the newest `version` counts, the first of equals stays.

    `apply` updates or inserts and reports how many rows it touched; `judge` says of each record of the same parameter
    why it may not have been: `missing` (its row may come), `stale` (done, or outdated) or `conflict` (never).
    """

    name: str
    topic: AnyTopic
    key: Callable[[Any], str]
    variant: Callable[[Any], str]
    version: Callable[[Any], int]
    row: Callable[[Any], _Row]
    apply: str
    judge: str


def _lead_row(event: LeadAdded) -> LeadRow:
    return LeadRow(
        task_id=event.task_id,
        leads_id=event.leads_id,
        leads_name=event.leads_name,
        leads_phone=event.leads_phone,
        reference_id=event.reference,
        call_time=in_utc(event.added_at),
        extras=event.extras or {},
    )


def _job_id_row(event: JobAssigned) -> JobIdRow:
    return JobIdRow(reference_id=event.reference_id, call_job_id=event.call_job_id)


def _status_row(event: StatusChanged) -> StatusRow:
    return StatusRow(
        call_job_id=event.call_job_id,
        version=event.version,
        call_status=event.call_status,
        planed_time=in_utc(event.planed_time),
        call_task_id=event.call_task_id,
        call_conversation=event.call_conversation,
        calling_number=event.calling_number,
        failure_reason=event.failure_reason,
        started_at=in_utc(event.started_at),
        ended_at=in_utc(event.ended_at),
        is_terminal=event.is_terminal,
    )


def _recording_row(event: JobRecorded) -> RecordingRow:
    return RecordingRow(
        call_job_id=event.call_job_id,
        call_task_id=event.call_task_id,
        recording_url=event.recording_url,
        recorded_at=in_utc(event.recorded_at),
    )


def _follow_up_row(event: FollowedUp) -> FollowUpRow:
    return FollowUpRow(
        call_job_id=event.call_job_id,
        leads_follow_id=event.leads_follow_id,
        version=event.version,
        is_interested=event.is_interested,
        summary=event.summary,
        analyzer=event.analyzer,
        analyzed_at=in_utc(event.analyzed_at),
    )


def _no_variant(_event: object) -> str:
    return ""


LEADS: Final = Kind(
    name="lead",
    topic=LEAD_ADDED,
    key=lambda event: event.reference,
    variant=lambda event: f"{event.task_id}\0{event.leads_id}",
    version=lambda _event: 0,
    row=_lead_row,
    apply="insert_leads",
    judge="judge_leads",
)
JOB_IDS: Final = Kind(
    name="assigned",
    topic=JOB_ASSIGNED,
    key=lambda event: event.reference_id,
    variant=lambda event: event.call_job_id,
    version=lambda _event: 0,
    row=_job_id_row,
    apply="set_job_ids",
    judge="judge_job_ids",
)
STATUSES: Final = Kind(
    name="status",
    topic=STATUS_CHANGED,
    key=lambda event: event.call_job_id,
    variant=_no_variant,
    version=lambda event: event.version,
    row=_status_row,
    apply="apply_statuses",
    judge="judge_jobs",
)
RECORDINGS: Final = Kind(
    name="recorded",
    topic=JOB_RECORDED,
    key=lambda event: event.call_job_id,
    variant=lambda event: event.call_task_id,
    version=lambda event: to_milliseconds(event.recorded_at),
    row=_recording_row,
    apply="apply_recordings",
    judge="judge_recordings",
)
FOLLOW_UPS: Final = Kind(
    name="followed_up",
    topic=FOLLOWED_UP,
    key=lambda event: event.call_job_id,
    variant=_no_variant,
    version=lambda event: event.version,
    row=_follow_up_row,
    apply="apply_follow_ups",
    judge="judge_jobs",
)

KINDS: Final = (LEADS, JOB_IDS, STATUSES, RECORDINGS, FOLLOW_UPS)
BY_TOPIC: Final = {kind.topic.name: kind for kind in KINDS}
