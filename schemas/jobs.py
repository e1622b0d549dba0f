"""Call jobs: what was assigned, what a page of the cloud showed, what changed, what was recorded.

`call_status` stays text: the cloud has added values over time. Only these end a job: the cloud's three final
statuses, and `NotExist`, which a job gets that the cloud has not known for long.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from schemas.ids import CallJobId, CallTaskId, EventId, JobGroupId, PageId, ReferenceId, TaskId, Version
from schemas.instants import Instant

ENDED_STATUSES = frozenset({"Succeeded", "Failed", "Cancelled", "NotExist"})

ObservedAt = Annotated[Instant, Meta(description="When the cloud was asked, by the database's clock.")]
Status = Annotated[str, Meta(description="The cloud's status of the job, or NotExist; more may be added.")]
Speaker = Annotated[str, Meta(description="Robot or Contact.")]
Script = Annotated[str, Meta(description="What was said.")]
PlannedTime = Annotated[Instant, Meta(description="When the latest attempt was planned for.")]
CallingNumber = Annotated[str, Meta(description="The number that the latest attempt called from.")]
FailureReason = Annotated[str, Meta(description="Why the latest attempt failed, in the cloud's words.")]
StartedAt = Annotated[Instant, Meta(description="When the latest attempt began.")]
EndedAt = Annotated[Instant, Meta(description="When the latest attempt ended: its start plus its duration.")]


class Turn(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One utterance; `speaker` is `Robot` or `Contact`."""

    speaker: Speaker
    script: Script
    at: Annotated[Instant, Meta(description="When it was said.")] | None = None


Conversation = Annotated[tuple[Turn, ...], Meta(description="What was said in the latest attempt, in its order.")]


class JobAssigned(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The cloud took a lead as a job."""

    event_id: EventId
    task_id: TaskId
    reference_id: ReferenceId
    call_job_id: CallJobId
    job_group_id: JobGroupId
    assigned_at: Annotated[Instant, Meta(description="When the cloud was seen to have the job.")]


class JobSnapshot(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A job as the cloud showed it, with the version and status that the database held when the page was leased.

    `call_task_id`, `planed_time`, `calling_number`, `started_at` and `ended_at` are the latest attempt's;
    `ended_at` is its start plus its duration.
    """

    task_id: TaskId
    reference_id: ReferenceId
    call_job_id: CallJobId
    call_status: Status
    call_conversation: Conversation
    stored_version: Annotated[Version, Meta(description="The row's status_version when the page was leased.")]
    stored_status: Annotated[str, Meta(description="The row's call_status when the page was leased.")] | None = None
    planed_time: PlannedTime | None = None
    call_task_id: CallTaskId | None = None
    calling_number: CallingNumber | None = None
    failure_reason: FailureReason | None = None
    started_at: StartedAt | None = None
    ended_at: EndedAt | None = None


class JobsPolled(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The jobs of one page at `observed_at`, the database's clock drawn before the cloud was asked.

    With `repair` every job of the page is emitted again, changed or not.
    """

    page_id: PageId
    observed_at: ObservedAt
    jobs: Annotated[tuple[JobSnapshot, ...], Meta(description="The jobs that were asked for.")]
    repair: Annotated[bool, Meta(description="Whether every job is emitted again, changed or not.")] | None = None


class StatusChanged(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A full snapshot of a job that changed: absent means NULL.

    `version` grows per job; `changed` names the fields that differ from the event before and is empty in a repeat.
    """

    event_id: EventId
    task_id: TaskId
    reference_id: ReferenceId
    call_job_id: CallJobId
    version: Version
    observed_at: ObservedAt
    call_status: Status
    call_conversation: Conversation
    changed: Annotated[tuple[str, ...], Meta(description="Fields that differ from the event before; none in a repeat.")]
    is_terminal: Annotated[bool, Meta(description="Whether the job has ended.")]
    previous_status: Annotated[str, Meta(description="The status of the event before.")] | None = None
    planed_time: PlannedTime | None = None
    call_task_id: CallTaskId | None = None
    calling_number: CallingNumber | None = None
    failure_reason: FailureReason | None = None
    started_at: StartedAt | None = None
    ended_at: EndedAt | None = None


class JobRecorded(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The recording of an attempt can be fetched from `recording_url`, until `expires_at` where that is known."""

    event_id: EventId
    call_job_id: CallJobId
    call_task_id: CallTaskId
    recording_url: Annotated[str, Meta(description="A signed URL of the recording; it expires.")]
    recorded_at: Annotated[Instant, Meta(description="When the URL was fetched; the newest counts.")]
    expires_at: Annotated[Instant, Meta(description="When the URL stops to work.")] | None = None
