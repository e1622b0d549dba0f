"""Every topic as an object: the only place where topic names are written."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Generic, TypeVar

import msgspec

from schemas.followups import FollowedUp, JobAnalysisRequested
from schemas.jobs import JobAssigned, JobRecorded, JobsPolled, StatusChanged
from schemas.leads import LeadAdded
from schemas.tasks import QueryRequested, StartRequested, TaskAnalysisRequested, TaskStateChanged

E = TypeVar("E", bound=msgspec.Struct)

MAX_RECORD_BYTES: Final = 1_048_576
DEAD_LETTER_HEADROOM_BYTES: Final = 65_536
DEAD_LETTER_SUFFIX: Final = ".dlq"

DAY_MS: Final = 86_400_000


@dataclass(frozen=True, kw_only=True)
class Topic(Generic[E]):
    """A topic, the event that it carries, the field by which records are keyed and the one that says when.

    An internal one is for callstream's own processes; one with personal data holds names, numbers or what was said.
    """

    name: str
    event: type[E]
    key_field: str
    time_field: str
    is_internal: bool = False
    has_personal_data: bool = False
    config: Mapping[str, str] = field(default_factory=dict)

    @property
    def dead_letters(self) -> str:
        """The topic that takes what nobody could use, byte for byte."""
        return self.name + DEAD_LETTER_SUFFIX

    def key_of(self, event: E) -> str:
        """Return the key under which `event` is sent."""
        return str(getattr(event, self.key_field))

    def time_of(self, event: E) -> datetime | None:
        """Return when `event` happened, where it says so."""
        instant: datetime | None = getattr(event, self.time_field)
        return instant


def _retained(days: int) -> dict[str, str]:
    return {
        "cleanup.policy": "delete",
        "message.timestamp.type": "LogAppendTime",
        "retention.ms": str(days * DAY_MS),
        "max.message.bytes": str(MAX_RECORD_BYTES),
    }


LEAD_ADDED = Topic(
    name="crm.lead.added.v1",
    event=LeadAdded,
    key_field="reference",
    time_field="added_at",
    has_personal_data=True,
    config=_retained(14),
)
START_REQUESTED = Topic(
    name="crm.call-task.start-requested.v1",
    event=StartRequested,
    key_field="task_id",
    time_field="requested_at",
    config=_retained(7),
)
QUERY_REQUESTED = Topic(
    name="crm.call-task.query-requested.v1",
    event=QueryRequested,
    key_field="task_id",
    time_field="requested_at",
    config=_retained(7),
)
TASK_ANALYSIS_REQUESTED = Topic(
    name="crm.call-task.analysis-requested.v1",
    event=TaskAnalysisRequested,
    key_field="task_id",
    time_field="requested_at",
    config=_retained(7),
)
TASK_STATE_CHANGED = Topic(
    name="outbound.call-task.state-changed.v1",
    event=TaskStateChanged,
    key_field="task_id",
    time_field="changed_at",
    config=_retained(30),
)
JOB_ASSIGNED = Topic(
    name="outbound.call-job.assigned.v1",
    event=JobAssigned,
    key_field="call_job_id",
    time_field="assigned_at",
    config=_retained(30),
)
JOBS_POLLED = Topic(
    name="outbound.call-job.polled.v1",
    event=JobsPolled,
    key_field="page_id",
    time_field="observed_at",
    is_internal=True,
    has_personal_data=True,
    config=_retained(2),
)
STATUS_CHANGED = Topic(
    name="outbound.call-job.status-changed.v1",
    event=StatusChanged,
    key_field="call_job_id",
    time_field="observed_at",
    has_personal_data=True,
    config=_retained(30),
)
JOB_ANALYSIS_REQUESTED = Topic(
    name="outbound.call-job.analysis-requested.v1",
    event=JobAnalysisRequested,
    key_field="call_job_id",
    time_field="requested_at",
    is_internal=True,
    has_personal_data=True,
    config=_retained(7),
)
JOB_RECORDED = Topic(
    name="outbound.call-job.recorded.v1",
    event=JobRecorded,
    key_field="call_job_id",
    time_field="recorded_at",
    has_personal_data=True,
    config=_retained(30),
)
FOLLOWED_UP = Topic(
    name="outbound.call-job.followed-up.v1",
    event=FollowedUp,
    key_field="call_job_id",
    time_field="analyzed_at",
    has_personal_data=True,
    config=_retained(30),
)

AnyTopic = (
    Topic[LeadAdded]
    | Topic[StartRequested]
    | Topic[QueryRequested]
    | Topic[TaskAnalysisRequested]
    | Topic[TaskStateChanged]
    | Topic[JobAssigned]
    | Topic[JobsPolled]
    | Topic[StatusChanged]
    | Topic[JobAnalysisRequested]
    | Topic[JobRecorded]
    | Topic[FollowedUp]
)

ALL: Final[tuple[AnyTopic, ...]] = (
    LEAD_ADDED,
    START_REQUESTED,
    QUERY_REQUESTED,
    TASK_ANALYSIS_REQUESTED,
    TASK_STATE_CHANGED,
    JOB_ASSIGNED,
    JOBS_POLLED,
    STATUS_CHANGED,
    JOB_ANALYSIS_REQUESTED,
    JOB_RECORDED,
    FOLLOWED_UP,
)

DEAD_LETTER_CONFIG: Final = {
    "cleanup.policy": "delete",
    "message.timestamp.type": "LogAppendTime",
    "retention.ms": str(90 * DAY_MS),
    "max.message.bytes": str(MAX_RECORD_BYTES + DEAD_LETTER_HEADROOM_BYTES),
}
