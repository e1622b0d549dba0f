"""What the CRM says of a lead."""

import msgspec

from schemas.ids import LeadId, ReferenceId, TaskId, reference_id_for
from schemas.instants import Instant


class LeadAdded(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A lead joins a call task; the same (task, lead, reference) again is a repeat.

    `added_at` becomes `call_time`. `extras` are handed to the call's script.
    """

    task_id: TaskId
    leads_id: LeadId
    leads_name: str
    leads_phone: str
    reference_id: ReferenceId | None = None
    added_at: Instant | None = None
    extras: dict[str, str] | None = None

    @property
    def reference(self) -> ReferenceId:
        """The reference id, derived from task and lead where the CRM gave none."""
        return self.reference_id or reference_id_for(self.task_id, self.leads_id)
