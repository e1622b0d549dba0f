"""Identifiers, and the deterministic ones among them.

Every id that callstream makes is a UUIDv5 over a compact JSON array of its parts, in one namespace. Nobody has to
coordinate, a repeat is recognisable as one, and the array keeps `("1", "23")` apart from `("12", "3")`.
"""

from hashlib import sha1
from operator import itemgetter
from typing import Annotated, NewType
from uuid import NAMESPACE_DNS, uuid5

import orjson
from msgspec import Meta

_Id = Annotated[str, Meta(min_length=1, max_length=128)]

TaskId = NewType("TaskId", Annotated[_Id, Meta(description="The CRM's call task.")])
LeadId = NewType("LeadId", Annotated[_Id, Meta(description="The CRM's lead.")])
ReferenceId = NewType("ReferenceId", Annotated[_Id, Meta(description="A lead of a task, as the cloud carries it.")])
CallJobId = NewType("CallJobId", Annotated[_Id, Meta(description="The cloud's job: one lead to be called.")])
CallTaskId = NewType("CallTaskId", Annotated[_Id, Meta(description="The cloud's latest attempt at a job.")])
JobGroupId = NewType("JobGroupId", Annotated[_Id, Meta(description="The cloud's group of a task's jobs.")])
FollowUpId = NewType("FollowUpId", Annotated[_Id, Meta(description="The job's one follow-up record.")])
PageId = NewType("PageId", Annotated[_Id, Meta(description="At most 99 jobs that are looked at together.")])
EventId = NewType("EventId", Annotated[_Id, Meta(description="The event: equal ids are the same event again.")])
RequestId = NewType("RequestId", Annotated[_Id, Meta(description="The request, as its sender named it.")])

MAX_VERSION = 2**63 - 1
Version = Annotated[int, Meta(ge=0, le=MAX_VERSION, description="Grows with each event of a job.")]

NAMESPACE = uuid5(NAMESPACE_DNS, "callstream")
_NAMESPACE_BYTES = NAMESPACE.bytes
_groups = itemgetter(slice(8), slice(8, 12), slice(13, 16), 16, slice(17, 20), slice(20, 32))
_VARIANT = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}


def reference_id_for(task_id: TaskId, leads_id: LeadId) -> ReferenceId:
    """Return the id by which the cloud and the CRM find the row of a lead in a task."""
    return ReferenceId(_uuid(task_id, leads_id))


def follow_up_id_for(call_job_id: CallJobId) -> FollowUpId:
    """Return the id of a job's one follow-up record, whatever is analysed again later."""
    return FollowUpId(_uuid(call_job_id))


def event_id_for(event_type: str, *parts: str | int) -> EventId:
    """Return the id of the event of `event_type` that `parts` determine; equal parts are one event."""
    return EventId(_uuid(event_type, *parts))


def page_id_for(task_id: TaskId, page: int) -> PageId:
    """Return the id of a task's page of at most 99 jobs; a job keeps its page for life."""
    return PageId(_uuid("page", task_id, page))


def job_group_name_for(task_id: TaskId) -> str:
    """Return the deterministic name under which a task's job group is searched before it is created."""
    return f"callstream-{_uuid('job-group', task_id)}"


def _uuid(*parts: str | int) -> str:
    """Return what `str(uuid5(NAMESPACE, ...))` does, in a third of its time: an event costs little more than its id."""
    digest = sha1(_NAMESPACE_BYTES + orjson.dumps(parts), usedforsecurity=False).hexdigest()
    low, mid, high, variant, sequence, node = _groups(digest)
    return f"{low}-{mid}-5{high}-{_VARIANT[variant]}{sequence}-{node}"
