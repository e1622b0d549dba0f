"""Anything that decodes can be written, or is refused as data: there is no third way for a record to end.

Good events are mutated at random, as bytes and as documents, and go through the sink's own loop into a real PostgreSQL.
An error of any other kind would hold up the partition for ever; here the record would stay uncommitted.
"""

import json
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from runtime.dead_letters import split_headers
from runtime.postgres import Database
from schemas.codec import DecodeError, decode, encode
from schemas.topics import ALL
from tests.fixtures.scripted_consumer import LetterBox, Topics, make_writer, run_sink
from tests.fixtures.sink_events import assigned, followed_up, lead, recorded, status
from tests.fixtures.sink_load import TOPIC_OF

GOOD = [lead(1), assigned(1), status(1, 2), recorded(1, 1), followed_up(1, 2)]
TEXTS = st.one_of(
    st.text(st.characters(codec=None), max_size=20),
    st.sampled_from(["", "x" * 128, "x" * 129, "\0", "\ud800", "'; drop table leads_task_list; --", "\\u0000", "NaN"]),
    st.sampled_from(["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "2026-11-23T08:00:00+15:59", "infinity"]),
    st.datetimes().map(lambda at: at.isoformat() + "Z"),
)
NUMBERS = st.one_of(st.integers(), st.sampled_from([0, -1, 2**63 - 1, 2**63, 2**64, 10**400]), st.floats())
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
EVENTS = st.sampled_from(GOOD)


@st.composite
def mutated_documents(draw: st.DrawFn) -> tuple[str, bytes]:
    """A good event with some fields replaced, added or left out."""
    event = draw(EVENTS)
    document = json.loads(encode(event))
    for name in draw(st.lists(st.sampled_from([*document, "unknown"]), min_size=1, max_size=3)):
        if draw(st.booleans()) or name == "unknown":
            document[name] = draw(VALUES)
        elif isinstance(document.get(name), str):
            document[name] = draw(TEXTS)
        else:
            document.pop(name, None)
    return TOPIC_OF[type(event)].name, json.dumps(document, ensure_ascii=draw(st.booleans())).encode("utf-8", "replace")


@st.composite
def mutated_bytes(draw: st.DrawFn) -> tuple[str, bytes]:
    """A good event with some bytes replaced, inserted, repeated or left out."""
    event = draw(EVENTS)
    value = encode(event)
    for _ in range(draw(st.integers(1, 3))):
        begin = draw(st.integers(0, len(value)))
        end = draw(st.integers(begin, min(len(value), begin + 20)))
        value = value[:begin] + draw(st.one_of(st.binary(max_size=8), st.just(value[begin:end] * 2))) + value[end:]
    return TOPIC_OF[type(event)].name, value


RECORDS = st.one_of(mutated_documents(), mutated_bytes())


@settings(max_examples=400, deadline=None)
@given(record=RECORDS)
def test_a_mutated_event_decodes_or_raises_a_decode_error(record: tuple[str, bytes]) -> None:
    """Nothing else, and no sentence without words."""
    topic, value = record
    types = {topic.name: topic.event for topic in ALL}
    with suppress(DecodeError):
        decode(value, types[topic])


def fuzz(dsn: str, *, examples: int) -> None:
    """Send batches of mutated events through the sink."""
    database = Database(dsn, name="sink", is_steady=True)
    database.open()

    @settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
    )
    @given(records=st.lists(RECORDS, min_size=1, max_size=30))
    def check(records: list[tuple[str, bytes]]) -> None:
        with psycopg.connect(dsn) as connection:
            connection.execute("truncate leads_task_list, leads_follow, parked_records")
        topics, box = Topics(), LetterBox()
        for event in GOOD[:2]:
            topics.append(TOPIC_OF[type(event)], 0, event)
        for topic, value in records:
            topics.append_value((topic, 0), value)
        run_sink(topics, topics.everything(), database=database, box=box)
        make_writer(database, box).sweep()
        assert topics.is_done()
        for letter in box.letters:
            _, why = split_headers(letter.headers)
            assert why["stage"] in {"undecodable", "conflict"} or why["exception.message"].startswith(("22", "23"))

    try:
        check()
    finally:
        database.close()


def test_a_mutated_event_is_written_or_refused_as_data(database: str) -> None:
    """No third way, and no record that takes others with it."""
    fuzz(database, examples=60)


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_many_thousand_mutated_events_are_written_or_refused_as_data(database: str) -> None:
    """The same for longer; its result is in docs/proofs.md."""
    fuzz(database, examples=3000)
