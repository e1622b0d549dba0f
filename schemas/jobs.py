"""Call jobs: what was assigned, what a page of the cloud showed, what changed, what was recorded.

`call_status` stays text: the cloud has added values over time. Only these end a job: the cloud's three final
statuses, and `NotExist`, which a job gets that the cloud has not known for long.
"""

import msgspec

from schemas.ids import CallJobId, CallTaskId, EventId, JobGroupId, PageId, ReferenceId, TaskId, Version
from schemas.instants import Instant

ENDED_STATUSES = frozenset({"Succeeded", "Failed", "Cancelled", "NotExist"})


class Turn(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One utterance; `speaker` is `Robot` or `Contact`."""

    speaker: str
    script: str
    at: Instant | None = None


class JobAssigned(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The cloud took a lead as a job."""

    event_id: EventId
    task_id: TaskId
    reference_id: ReferenceId
    call_job_id: CallJobId
    job_group_id: JobGroupId
    assigned_at: Instant


class JobSnapshot(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A job as the cloud showed it, with the version and status that the database held when the page was leased.

    `call_task_id`, `planed_time`, `calling_number`, `started_at` and `ended_at` are the latest attempt's;
    `ended_at` is its start plus its duration.
    """

    task_id: TaskId
    reference_id: ReferenceId
    call_job_id: CallJobId
    call_status: str
    call_conversation: tuple[Turn, ...]
    stored_version: Version
    stored_status: str | None = None
    planed_time: Instant | None = None
    call_task_id: CallTaskId | None = None
    calling_number: str | None = None
    failure_reason: str | None = None
    started_at: Instant | None = None
    ended_at: Instant | None = None


class JobsPolled(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The jobs of one page at `observed_at`, the database's clock drawn before the cloud was asked.

    With `repair` every job of the page is emitted again, changed or not.
    """

    page_id: PageId
    observed_at: Instant
    jobs: tuple[JobSnapshot, ...]
    repair: bool = False


class StatusChanged(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A full snapshot of a job that changed: absent means NULL.

    `version` grows per job; `changed` names the fields that differ from the event before and is empty in a repeat.
    """

    event_id: EventId
    task_id: TaskId
    reference_id: ReferenceId
    call_job_id: CallJobId
    version: Version
    observed_at: Instant
    call_status: str
    call_conversation: tuple[Turn, ...]
    changed: tuple[str, ...]
    is_terminal: bool
    previous_status: str | None = None
    planed_time: Instant | None = None
    call_task_id: CallTaskId | None = None
    calling_number: str | None = None
    failure_reason: str | None = None
    started_at: Instant | None = None
    ended_at: Instant | None = None


class JobRecorded(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The recording of an attempt can be fetched from `recording_url`, until `expires_at` where that is known."""

    event_id: EventId
    call_job_id: CallJobId
    call_task_id: CallTaskId
    recording_url: str
    recorded_at: Instant
    expires_at: Instant | None = None
