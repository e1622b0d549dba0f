"""Identifiers, and the deterministic ones among them.

Every id that callstream makes is a UUIDv5 over a compact JSON array of its parts, in one namespace. Nobody has to
coordinate, a repeat is recognisable as one, and the array keeps `("1", "23")` apart from `("12", "3")`.
"""

from typing import Annotated, NewType
from uuid import NAMESPACE_DNS, UUID, uuid5

import orjson
from msgspec import Meta

_Id = Annotated[str, Meta(min_length=1, max_length=128)]

TaskId = NewType("TaskId", _Id)
LeadId = NewType("LeadId", _Id)
ReferenceId = NewType("ReferenceId", _Id)
CallJobId = NewType("CallJobId", _Id)
CallTaskId = NewType("CallTaskId", _Id)
JobGroupId = NewType("JobGroupId", _Id)
FollowUpId = NewType("FollowUpId", _Id)
PageId = NewType("PageId", _Id)
EventId = NewType("EventId", _Id)
RequestId = NewType("RequestId", _Id)

MAX_VERSION = 2**63 - 1
Version = Annotated[int, Meta(ge=0, le=MAX_VERSION)]

NAMESPACE = uuid5(NAMESPACE_DNS, "callstream")


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
    return PageId(str(UUID(_uuid("page", task_id, page))))


def job_group_name_for(task_id: TaskId) -> str:
    """Return the deterministic name under which a task's job group is searched before it is created."""
    return f"callstream-{_uuid('job-group', task_id)}"


def _uuid(*parts: str | int) -> str:
    return str(uuid5(NAMESPACE, orjson.dumps(parts).decode()))
