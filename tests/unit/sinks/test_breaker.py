"""The breaker: trips where the database refused more than half of the last distinct rows, and never on repeats."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import FatalError
from sinks.breaker import Breaker, RowKey


def rows(*numbers: int) -> list[RowKey]:
    """Rows of one kind."""
    return [("status", str(number)) for number in numbers]


def test_half_of_the_rows_may_be_bad() -> None:
    """A short history proves nothing, whatever is in it."""
    breaker = Breaker(window=10)
    breaker.check(rows(*range(5)), rows(*range(5)))
    breaker.record(rows(*range(5)), rows(*range(5)))
    breaker.check(rows(*range(5, 20)), [])


def test_more_than_half_of_the_window_trips_it() -> None:
    """The sentence says how many, and nothing is remembered by asking."""
    breaker = Breaker(window=10)
    with pytest.raises(FatalError, match="6 of the last 10 rows"):
        breaker.check(rows(*range(6)), rows(*range(6)))
    breaker.check(rows(*range(6)), rows(*range(5)))


def test_one_bad_row_that_comes_again_and_again_is_one() -> None:
    """A replay of one bad record does not stop the sink; neither do records of other kinds under its key."""
    breaker = Breaker(window=10)
    for _ in range(1000):
        breaker.check(rows(1), rows(1))
        breaker.record(rows(1), rows(1))
    breaker.check([("lead", "1")], [("lead", "1")])


def test_the_last_word_on_a_row_counts() -> None:
    """A row that was refused and then taken is good."""
    breaker = Breaker(window=10)
    breaker.record(rows(*range(5)), rows(*range(5)))
    breaker.record(rows(*range(5)), [])
    breaker.check(rows(*range(5, 10)), rows(*range(5, 10)))


def test_old_rows_leave_the_window() -> None:
    """What was bad long ago does not count."""
    breaker = Breaker(window=10)
    breaker.record(rows(*range(5)), rows(*range(5)))
    breaker.record(rows(*range(10, 20)), [])
    breaker.check(rows(*range(20, 25)), rows(*range(20, 25)))


@given(st.lists(st.tuples(st.integers(0, 12), st.booleans()), max_size=60))
def test_it_trips_exactly_where_the_definition_says(outcomes: list[tuple[int, bool]]) -> None:
    """Against the plain definition: the last outcomes of the last distinct rows."""
    breaker = Breaker(window=6)
    history: list[tuple[int, bool]] = []
    for number, is_bad in outcomes:
        history = [outcome for outcome in history if outcome[0] != number] + [(number, is_bad)]
        refused = sum(bad for _, bad in history[-6:])
        if refused > 3:
            with pytest.raises(FatalError):
                breaker.check(rows(number), rows(number) if is_bad else [])
            return
        breaker.check(rows(number), rows(number) if is_bad else [])
        breaker.record(rows(number), rows(number) if is_bad else [])
