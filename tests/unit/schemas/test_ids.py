"""Ids that anybody can make again."""

from uuid import uuid5

import orjson
from hypothesis import given
from hypothesis import strategies as st

from schemas.ids import NAMESPACE, event_id_for

PARTS = st.lists(st.one_of(st.text(st.characters(exclude_categories=["Cs"])), st.integers(0, 2**63 - 1)), max_size=4)


@given(st.text(st.characters(exclude_categories=["Cs"])), PARTS)
def test_an_id_is_the_uuid5_of_its_parts(event_type: str, parts: list[str | int]) -> None:
    """Whatever the parts: the standard library, and so any other language, arrives at the same id."""
    assert event_id_for(event_type, *parts) == str(uuid5(NAMESPACE, orjson.dumps([event_type, *parts]).decode()))
