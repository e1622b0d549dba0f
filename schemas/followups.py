"""What a call meant: the request to analyse one job, and the record that comes of it."""

from typing import Annotated

import msgspec
from msgspec import Meta

from schemas.ids import CallJobId, EventId, FollowUpId, RequestId, TaskId, Version
from schemas.instants import Instant
from schemas.jobs import Conversation, Status

Interest = Annotated[int, Meta(ge=0, le=2, description="0 cannot tell, 1 interested, 2 not interested.")]
Forced = Annotated[bool, Meta(description="Whether a person asked for the analysis.")]

CANNOT_TELL, INTERESTED, NOT_INTERESTED = 0, 1, 2


class JobAnalysisRequested(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One ended job is to be analysed, with what the database held when the request was expanded.

    `is_forced` tells a person's wish from an audit that found no record.
    """

    event_id: EventId
    task_id: TaskId
    call_job_id: CallJobId
    call_status: Status
    call_conversation: Conversation
    status_version: Annotated[Version, Meta(description="The row's status_version when the request was expanded.")]
    follow_version: Annotated[Version, Meta(description="The row's follow_version when the request was expanded.")]
    is_forced: Forced
    requested_at: Annotated[Instant, Meta(description="When it was asked for.")]
    request_id: RequestId | None = None


class FollowedUp(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The follow-up record of a job; `is_interested` is 0 cannot tell, 1 interested, 2 not interested.

    `analyzer` is `rules`, or the model's name with the prompt's version.
    """

    event_id: EventId
    task_id: TaskId
    call_job_id: CallJobId
    leads_follow_id: FollowUpId
    version: Version
    is_interested: Interest
    summary: Annotated[str, Meta(description="What the call meant, in a sentence or two.")]
    analyzer: Annotated[str, Meta(description="rules, or the model's name with the prompt's version.")]
    is_forced: Forced
    analyzed_at: Annotated[Instant, Meta(description="When the analysis was made.")]
