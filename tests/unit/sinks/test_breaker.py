"""The breaker: trips on a window more than half refused, and never before the window is full."""

import pytest

from runtime.errors import FatalError
from sinks.breaker import Breaker


def test_a_few_bad_rows_never_trip_it() -> None:
    """Half of the rows may be bad, and a short history proves nothing."""
    breaker = Breaker(window=10)
    breaker.check(rows=9, refused=9)
    breaker.record(rows=5, refused=5)
    breaker.check(rows=5, refused=0)


def test_more_than_half_of_a_full_window_trips_it() -> None:
    """The sentence says how many, and nothing is recorded by asking."""
    breaker = Breaker(window=10)
    breaker.record(rows=4, refused=0)
    with pytest.raises(FatalError, match="6 of the last 10 rows"):
        breaker.check(rows=6, refused=6)
    breaker.check(rows=6, refused=5)


def test_old_rows_leave_the_window() -> None:
    """What was bad long ago does not count."""
    breaker = Breaker(window=10)
    breaker.record(rows=10, refused=5)
    breaker.record(rows=10, refused=0)
    breaker.check(rows=5, refused=5)
