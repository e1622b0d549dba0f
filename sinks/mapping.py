"""What each kind of event means for the database: its identity, its age, its row and its statements. Pure.

The kinds stand in the order in which a flush applies them, so that nothing rests on the order between topics.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from schemas.followups import FollowedUp
from schemas.instants import EPOCH
from schemas.jobs import JobAssigned, JobRecorded, StatusChanged
from schemas.leads import LeadAdded
from schemas.topics import FOLLOWED_UP, JOB_ASSIGNED, JOB_RECORDED, LEAD_ADDED, STATUS_CHANGED, AnyTopic
from sinks.columns import Type, bigint, boolean, column, jsonb, text, timestamptz

_json = msgspec.json.Encoder().encode


class _Row(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """One element of a statement's JSON parameter; what it leaves out is NULL there."""


class LeadRow(_Row, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """A new row of `leads_task_list`."""

    task_id: str
    leads_id: str
    leads_name: str
    leads_phone: str
    reference_id: str
    call_time: datetime | None = None
    extras: dict[str, str] | None = None


class JobIdRow(_Row, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """The job id of a lead."""

    reference_id: str
    call_job_id: str


class RecordingRow(_Row, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """The recording of an attempt."""

    call_job_id: str
    call_task_id: str
    recording_url: str
    recorded_at: datetime


class FollowUpRow(_Row, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """The follow-up record of a job."""

    call_job_id: str
    leads_follow_id: str
    version: int
    is_interested: int
    summary: str
    analyzer: str
    analyzed_at: datetime


STATUS_COLUMNS: Final = {
    "call_job_id": Type.TEXT,
    "version": Type.BIGINT,
    "call_status": Type.TEXT,
    "planed_time": Type.TIMESTAMPTZ,
    "call_task_id": Type.TEXT,
    "call_conversation": Type.JSONB,
    "calling_number": Type.TEXT,
    "failure_reason": Type.TEXT,
    "started_at": Type.TIMESTAMPTZ,
    "ended_at": Type.TIMESTAMPTZ,
    "is_terminal": Type.BOOLEAN,
}


class JsonArray(bytes):
    """A JSON array of rows."""

    __slots__ = ()


def in_json(rows: Sequence[Any]) -> Mapping[str, JsonArray]:
    """Return the one parameter of statements that take rows as JSON."""
    return {"rows": JsonArray(b"[" + b",".join(rows) + b"]")}


def in_columns(rows: Sequence[Any]) -> Mapping[str, bytes]:
    """Return the parameters of the statements about statuses, of which there are by far the most: a column each."""
    return {
        name: column(kind, elements)
        for (name, kind), elements in zip(STATUS_COLUMNS.items(), zip(*rows, strict=True), strict=True)
    }


def _never(_event: object) -> None:
    return None


@dataclass(frozen=True, kw_only=True, eq=False)
class Kind:
    """One kind of record: of equal `identity`, which is key and variant, the newest `version` counts, or the first.

    `row` encodes an event, and `parameters` makes of such rows what the statements take.
    `apply` updates or inserts and reports how many rows it touched; `judge` says of each record of the same parameter
    why it may not have been: `park` (its row may come), `stale` (done, or outdated) or `conflict` (never). The two see
    the table at different moments, so `judge` compares versions too: a row that came in between makes nothing stale.
    `ended_at` is the end of the call that an event is the news of.
    """

    name: str
    topic: AnyTopic
    identity: Callable[[Any], tuple[str, str]]
    version: Callable[[Any], int]
    row: Callable[[Any], Any]
    apply: str
    judge: str
    parameters: Callable[[Sequence[Any]], Mapping[str, bytes]] = in_json
    ended_at: Callable[[Any], datetime | None] = _never


def _end_of_call(event: StatusChanged) -> datetime | None:
    return event.ended_at if event.ended_at is not None and "call_status" in event.changed else None


def _lead_row(event: LeadAdded) -> bytes:
    row = LeadRow(
        task_id=event.task_id,
        leads_id=event.leads_id,
        leads_name=event.leads_name,
        leads_phone=event.leads_phone,
        reference_id=event.reference,
        call_time=event.added_at,
        extras=event.extras,
    )
    return _json(row)


def _job_id_row(event: JobAssigned) -> bytes:
    row = JobIdRow(reference_id=event.reference_id, call_job_id=event.call_job_id)
    return _json(row)


def _status_row(event: StatusChanged) -> tuple[bytes, ...]:
    return (
        text(event.call_job_id),
        bigint(event.version),
        text(event.call_status),
        timestamptz(event.planed_time),
        text(event.call_task_id),
        jsonb(_json(event.call_conversation)),
        text(event.calling_number),
        text(event.failure_reason),
        timestamptz(event.started_at),
        timestamptz(event.ended_at),
        boolean(event.is_terminal),
    )


def _recording_row(event: JobRecorded) -> bytes:
    row = RecordingRow(
        call_job_id=event.call_job_id,
        call_task_id=event.call_task_id,
        recording_url=event.recording_url,
        recorded_at=event.recorded_at,
    )
    return _json(row)


def _follow_up_row(event: FollowedUp) -> bytes:
    row = FollowUpRow(
        call_job_id=event.call_job_id,
        leads_follow_id=event.leads_follow_id,
        version=event.version,
        is_interested=event.is_interested,
        summary=event.summary,
        analyzer=event.analyzer,
        analyzed_at=event.analyzed_at,
    )
    return _json(row)


LEADS: Final = Kind(
    name="lead",
    topic=LEAD_ADDED,
    identity=lambda event: (event.reference, f"{event.task_id}\0{event.leads_id}"),
    version=lambda _event: 0,
    row=_lead_row,
    apply="insert_leads",
    judge="judge_leads",
)
JOB_IDS: Final = Kind(
    name="assigned",
    topic=JOB_ASSIGNED,
    identity=lambda event: (event.reference_id, event.call_job_id),
    version=lambda _event: 0,
    row=_job_id_row,
    apply="set_job_ids",
    judge="judge_job_ids",
)
STATUSES: Final = Kind(
    name="status",
    topic=STATUS_CHANGED,
    identity=lambda event: (event.call_job_id, ""),
    version=lambda event: event.version,
    row=_status_row,
    apply="apply_statuses",
    judge="judge_statuses",
    parameters=in_columns,
    ended_at=_end_of_call,
)
RECORDINGS: Final = Kind(
    name="recorded",
    topic=JOB_RECORDED,
    identity=lambda event: (event.call_job_id, event.call_task_id),
    version=lambda event: (event.recorded_at - EPOCH) // timedelta(microseconds=1),  # the grain of the column
    row=_recording_row,
    apply="apply_recordings",
    judge="judge_recordings",
)
FOLLOW_UPS: Final = Kind(
    name="followed_up",
    topic=FOLLOWED_UP,
    identity=lambda event: (event.call_job_id, ""),
    version=lambda event: event.version,
    row=_follow_up_row,
    apply="apply_follow_ups",
    judge="judge_follow_ups",
)

KINDS: Final = (LEADS, JOB_IDS, STATUSES, RECORDINGS, FOLLOW_UPS)
BY_TOPIC: Final = {kind.topic.name: kind for kind in KINDS}
