"""Which consumer groups there are and what each reads: what lag is measured of."""

from typing import Final

from producers.recorder import GROUP as RECORD_GROUP
from producers.requests import GROUP as POLL_GROUP
from producers.starter import GROUP as START_GROUP
from runtime.settings import Settings
from schemas.topics import (
    JOB_ANALYSIS_REQUESTED,
    JOBS_POLLED,
    QUERY_REQUESTED,
    START_REQUESTED,
    STATUS_CHANGED,
    TASK_ANALYSIS_REQUESTED,
)
from sinks.loop import GROUP as SINK_GROUP
from sinks.mapping import BY_TOPIC
from streams.changelogs import CHANGES_APP, FOLLOW_UPS_APP

GROUPS: Final[dict[str, tuple[str, ...]]] = {
    START_GROUP: (START_REQUESTED.name,),
    POLL_GROUP: (QUERY_REQUESTED.name, TASK_ANALYSIS_REQUESTED.name),
    CHANGES_APP: (JOBS_POLLED.name,),
    SINK_GROUP: tuple(BY_TOPIC),
    FOLLOW_UPS_APP: (STATUS_CHANGED.name, JOB_ANALYSIS_REQUESTED.name),
    RECORD_GROUP: (STATUS_CHANGED.name,),
}


def groups_at_work(settings: Settings) -> dict[str, tuple[str, ...]]:
    """Return the groups that have something to do: where recordings are off nobody reads for them."""
    if settings.core.recordings_enabled:
        return GROUPS
    return {group: topics for group, topics in GROUPS.items() if group != RECORD_GROUP}
