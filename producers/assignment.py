"""Who may be called now: decided from what is stored and what the cloud listed. Pure.

A person is never called twice. A reference that the cloud lists is adopted and never assigned. One that it does not
list is assigned only where nothing may still be on its way: the task is not in doubt, and the lead's own mark, if it
has one, is older than any answer and its settling can be.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from producers.cloud.payloads import Contact, encoded_size
from schemas.ids import CallJobId, ReferenceId

CHUNK: Final = 25
MAX_BYTES: Final = 65_536  # of one call's query string; what the service's gateway takes is not documented
FRESH_SECONDS: Final = 1.0  # a mark is at most so old when its call is sent

Listing = Mapping[ReferenceId, Sequence[CallJobId]]


@dataclass(frozen=True, kw_only=True)
class WaitingLead:
    """A lead without a job id; `marked_at` is when somebody set out to assign it."""

    contact: Contact
    marked_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class AssignmentPolicy:
    """How long a call may take, and how long after it its effect may stay invisible."""

    call_timeout: timedelta
    settle: timedelta

    @property
    def certainty(self) -> timedelta:
        """How old a mark must be before its absence from a listing means that nobody was called."""
        return timedelta(seconds=FRESH_SECONDS) + self.call_timeout + self.settle


@dataclass(frozen=True, kw_only=True)
class Wave:
    """What follows from one listing."""

    adopted: Mapping[ReferenceId, CallJobId] = field(default_factory=dict)
    assignable: Sequence[Contact] = ()
    doubtful: int = 0
    duplicates: Sequence[ReferenceId] = ()


def plan_wave(
    leads: Iterable[WaitingLead],
    listing: Listing,
    policy: AssignmentPolicy,
    *,
    now: datetime,
    doubt_until: datetime | None = None,
    refused: frozenset[ReferenceId] = frozenset(),
) -> Wave:
    """Divide leads into those that the cloud has, those that may be assigned, and those that must wait.

    `refused` are references that the cloud would not take a moment ago.
    """
    adopted: dict[ReferenceId, CallJobId] = {}
    assignable: list[Contact] = []
    doubtful = 0
    for lead in leads:
        reference = lead.contact.reference_id
        jobs = listing.get(reference)
        if jobs:
            adopted[reference] = min(jobs)
        elif _is_in_doubt(lead, policy, now=now, doubt_until=doubt_until):
            doubtful += 1
        elif reference not in refused:
            assignable.append(lead.contact)
    return Wave(
        adopted=adopted,
        assignable=assignable,
        doubtful=doubtful,
        duplicates=[reference for reference in adopted if len(listing[reference]) > 1],
    )


def chunks(contacts: Iterable[Contact], size: int = CHUNK, max_bytes: int = MAX_BYTES) -> Iterator[list[Contact]]:
    """Yield contacts in the portions in which they are assigned: so many at most, and so many bytes of a query."""
    chunk: list[Contact] = []
    filled = 0
    for contact in contacts:
        length = encoded_size(contact)
        if chunk and (len(chunk) == size or filled + length > max_bytes):
            yield chunk
            chunk, filled = [], 0
        chunk.append(contact)
        filled += length
    if chunk:
        yield chunk


def _is_in_doubt(lead: WaitingLead, policy: AssignmentPolicy, *, now: datetime, doubt_until: datetime | None) -> bool:
    if doubt_until is not None and now < doubt_until:
        return True
    return lead.marked_at is not None and now < lead.marked_at + policy.certainty
