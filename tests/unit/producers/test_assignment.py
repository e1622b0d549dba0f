"""Who may be called: never one who may be called already, and in the end everybody."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from producers.assignment import MAX_BYTES, AssignmentPolicy, WaitingLead, chunks, plan_wave
from producers.cloud.payloads import Contact, encoded_size
from schemas.ids import CallJobId, ReferenceId

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
POLICY = AssignmentPolicy(call_timeout=timedelta(seconds=20), settle=timedelta(seconds=10))
AGES = st.one_of(st.none(), st.integers(0, 120))


def lead(number: int, age: int | None = None, *, is_held: bool = False, name: str = "n") -> WaitingLead:
    """A lead, marked so many seconds ago."""
    contact = Contact(reference_id=ReferenceId(f"r{number}"), name=name, phone_number="1")
    marked_at = None if age is None else NOW - timedelta(seconds=age)
    return WaitingLead(contact=contact, marked_at=marked_at, is_held=is_held)


@given(
    ages=st.lists(AGES, max_size=20),
    listed=st.sets(st.integers(0, 19)),
    refused=st.sets(st.integers(0, 19)),
    doubt=st.one_of(st.none(), st.integers(-60, 60)),
)
def test_nobody_is_assigned_who_is_listed_or_may_be_on_the_way(
    ages: list[int | None], listed: set[int], refused: set[int], doubt: int | None
) -> None:
    """Whatever is stored and listed: a lead is assignable exactly where nothing speaks against it."""
    leads = [lead(number, age, is_held=number in refused) for number, age in enumerate(ages)]
    listing = {ReferenceId(f"r{number}"): [CallJobId(f"j{number}")] for number in listed}
    wave = plan_wave(
        leads,
        listing,
        POLICY,
        now=NOW,
        doubt_until=None if doubt is None else NOW + timedelta(seconds=doubt),
    )
    assignable = {free.contact.reference_id for free in wave.assignable}
    in_doubt = doubt is not None and doubt > 0
    for number, age in enumerate(ages):
        reference = ReferenceId(f"r{number}")
        is_free = number not in listed and not in_doubt and (age is None or age >= 31) and number not in refused
        assert (reference in assignable) == is_free
        assert (reference in wave.adopted) == (number in listed)


def test_a_reference_with_two_jobs_is_reported_and_adopted_once() -> None:
    """That somebody is called twice cannot be mended here, but it must be seen; the choice is stable."""
    listing = {ReferenceId("r0"): [CallJobId("j2"), CallJobId("j1")]}
    wave = plan_wave([lead(0)], listing, POLICY, now=NOW)
    assert wave.duplicates == ["r0"]
    assert wave.adopted == {"r0": "j1"}


def test_a_chunk_fits_into_one_call() -> None:
    """Contacts with much to say go in smaller portions; none is left out."""
    leads = [lead(number, name="名" * 1000) for number in range(25)]
    portions = list(chunks(leads))
    assert [lead for portion in portions for lead in portion] == leads
    assert all(sum(encoded_size(lead.contact) for lead in portion) <= MAX_BYTES for portion in portions)
    assert len(portions) > 1


@given(st.integers(0, 120))
def test_chunks_hold_everybody_once_and_at_most_25(count: int) -> None:
    """The service's advice, and nobody is left out."""
    leads = [lead(number) for number in range(count)]
    portions = list(chunks(leads))
    assert [lead for portion in portions for lead in portion] == leads
    assert all(1 <= len(portion) <= 25 for portion in portions)
