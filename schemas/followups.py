"""What a call meant: the request to analyse one job, and the record that comes of it."""

from typing import Annotated

import msgspec
from msgspec import Meta

from schemas.ids import CallJobId, EventId, FollowUpId, RequestId, TaskId, Version
from schemas.instants import Instant
from schemas.jobs import Turn

Interest = Annotated[int, Meta(ge=0, le=2)]

CANNOT_TELL, INTERESTED, NOT_INTERESTED = 0, 1, 2


class JobAnalysisRequested(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One ended job is to be analysed, with what the database held when the request was expanded.

    `is_forced` tells a person's wish from an audit that found no record.
    """

    event_id: EventId
    task_id: TaskId
    call_job_id: CallJobId
    call_status: str
    call_conversation: tuple[Turn, ...]
    status_version: Version
    follow_version: Version
    is_forced: bool
    requested_at: Instant
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
    summary: str
    analyzer: str
    is_forced: bool
    analyzed_at: Instant
