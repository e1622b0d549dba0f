"""Points in time: one spelling, and no other than the standard library's."""

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from schemas.instants import format_instant, from_milliseconds, to_milliseconds

OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
INSTANTS = st.datetimes(min_value=datetime(1, 1, 3), max_value=datetime(9999, 12, 29), timezones=OFFSETS)


@given(INSTANTS | INSTANTS.map(lambda instant: instant.replace(microsecond=0)))
def test_an_instant_is_written_in_utc_with_exactly_milliseconds(instant: datetime) -> None:
    """As `isoformat` writes it, in any year, from any offset, with whole seconds too."""
    expected = instant.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
    assert format_instant(instant) == expected
    assert len(expected) == len("2026-11-23T08:00:00.000Z")


@given(st.integers(-60_000_000_000_000, 250_000_000_000_000))
def test_milliseconds_survive_the_way_there_and_back(milliseconds: int) -> None:
    """The grain of versions is the grain of the wire."""
    assert to_milliseconds(from_milliseconds(milliseconds)) == milliseconds
