"""What the CRM says of a lead."""

from typing import Annotated

import msgspec
from msgspec import Meta

from schemas.ids import LeadId, ReferenceId, TaskId, reference_id_for
from schemas.instants import Instant


class LeadAdded(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A lead joins a call task; the same (task, lead, reference) again is a repeat.

    `added_at` becomes `call_time`. `extras` are handed to the call's script.
    """

    task_id: TaskId
    leads_id: LeadId
    leads_name: Annotated[str, Meta(description="The person's name.")]
    leads_phone: Annotated[str, Meta(description="The number to call.")]
    reference_id: ReferenceId | None = None
    added_at: Annotated[Instant, Meta(description="When the lead joined; becomes call_time.")] | None = None
    extras: Annotated[dict[str, str], Meta(description="Values for the variables of the call's script.")] | None = None

    @property
    def reference(self) -> ReferenceId:
        """The reference id, derived from task and lead where the CRM gave none."""
        return self.reference_id or reference_id_for(self.task_id, self.leads_id)
