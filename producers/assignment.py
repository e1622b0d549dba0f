"""Who may be called now: decided from what is stored and what the cloud listed. Pure.

A person is never called twice. A reference that the cloud lists is adopted and never assigned. One that it does not
list is assigned only where nothing may still be on its way: the task is not in doubt, the lead's own mark, if it has
one, is older than any answer and its settling can be, and nothing is held against it. A task comes into doubt before
each call, not after it, so that a starter that dies leaves the doubt behind.
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
    """A lead without a job id; `marked_at` is when somebody set out to assign it.

    `digest` tells its contact from a corrected one. `is_held`: the cloud would not take this contact, or (`taken_at`)
    said that it took it and did not list it.
    """

    contact: Contact
    digest: str = ""
    marked_at: datetime | None = None
    is_held: bool = False
    taken_at: datetime | None = None


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
    assignable: Sequence[WaitingLead] = ()
    doubtful: int = 0
    duplicates: Sequence[ReferenceId] = ()


def needs_listing(leads: Iterable[WaitingLead], policy: AssignmentPolicy, *, now: datetime) -> bool:
    """Return whether the cloud must be asked about any of these leads.

    It need not be for leads that are held: of those that it said to have taken, only for as long as they may appear.
    """
    return any(not lead.is_held or (lead.taken_at and now < lead.taken_at + policy.certainty) for lead in leads)


def plan_wave(
    leads: Iterable[WaitingLead],
    listing: Listing,
    policy: AssignmentPolicy,
    *,
    now: datetime,
    doubt_until: datetime | None = None,
) -> Wave:
    """Divide leads into those that the cloud has, those that may be assigned, and those that must wait."""
    adopted: dict[ReferenceId, CallJobId] = {}
    assignable: list[WaitingLead] = []
    doubtful = 0
    for lead in leads:
        reference = lead.contact.reference_id
        jobs = listing.get(reference)
        if jobs:
            adopted[reference] = min(jobs)
        elif _is_in_doubt(lead, policy, now=now, doubt_until=doubt_until):
            doubtful += 1
        elif not lead.is_held:
            assignable.append(lead)
    return Wave(
        adopted=adopted,
        assignable=assignable,
        doubtful=doubtful,
        duplicates=[reference for reference in adopted if len(listing[reference]) > 1],
    )


def problem_of(contact: Contact) -> str | None:
    """Return why no call could carry this contact, None where one can; rows may have been edited by hand."""
    extras: object = contact.extras
    if not isinstance(extras, Mapping) or not all(isinstance(value, str) for value in extras.values()):
        return "its extras are no object of texts"
    return "it is too large for one call" if encoded_size(contact) > MAX_BYTES else None


def chunks(leads: Iterable[WaitingLead], size: int = CHUNK, max_bytes: int = MAX_BYTES) -> Iterator[list[WaitingLead]]:
    """Yield leads in the portions in which they are assigned: so many at most, and so many bytes of a query."""
    chunk: list[WaitingLead] = []
    filled = 0
    for lead in leads:
        length = encoded_size(lead.contact)
        if chunk and (len(chunk) == size or filled + length > max_bytes):
            yield chunk
            chunk, filled = [], 0
        chunk.append(lead)
        filled += length
    if chunk:
        yield chunk


def _is_in_doubt(lead: WaitingLead, policy: AssignmentPolicy, *, now: datetime, doubt_until: datetime | None) -> bool:
    if doubt_until is not None and now < doubt_until:
        return True
    return lead.marked_at is not None and now < lead.marked_at + policy.certainty
