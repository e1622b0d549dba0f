"""Columns in binary, read by the server whose format it is."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sinks.writer  # noqa: F401 - teaches the library what a column is
from sinks.columns import Column, Type, bigint, boolean, column, jsonb, text, timestamptz

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
TIMES = st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31), timezones=st.just(UTC))
ROWS = st.lists(
    st.tuples(
        st.none() | TEXTS,
        st.integers(-(2**63), 2**63 - 1),
        st.none() | TIMES,
        st.booleans(),
        st.lists(TEXTS, max_size=3),
    ),
    min_size=1,
    max_size=5,
)  # fmt: skip
QUESTION = """
select e.* from unnest(
    %(texts)b::text[], %(numbers)b::bigint[], %(times)b::timestamptz[], %(truths)b::boolean[], %(documents)b::jsonb[]
) as e
"""


@given(rows=ROWS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
def test_what_is_encoded_is_what_the_server_reads(database: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Any text, the ends of numbers and of the calendar, nothing at all, and documents."""
    texts, numbers, times, truths, documents = zip(*rows, strict=True)
    columns = {
        "texts": column(Type.TEXT, [*map(text, texts)]),
        "numbers": column(Type.BIGINT, [*map(bigint, numbers)]),
        "times": column(Type.TIMESTAMPTZ, [*map(timestamptz, times)]),
        "truths": column(Type.BOOLEAN, [*map(boolean, truths)]),
        "documents": column(Type.JSONB, [jsonb(msgspec.json.encode(document)) for document in documents]),
    }
    with psycopg.connect(database) as connection:
        connection.execute("set timezone to 'UTC'")
        assert connection.execute(QUESTION, columns).fetchall() == list(rows)


def test_a_column_of_another_type_is_refused(database: str) -> None:
    """The server does not take the bytes of one type for another's."""
    with psycopg.connect(database) as connection, pytest.raises(psycopg.Error):
        connection.execute("select %(numbers)b::bigint[]", {"numbers": Column(column(Type.TEXT, [text("1")]))})
