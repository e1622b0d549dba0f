"""What of the dead letters is sent again: each original once, in order, within the limit, and nothing for ever."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from confluent_kafka import Message
from hypothesis import given
from hypothesis import strategies as st

from runtime.dead_letter_box import (
    BEYOND_LIMIT,
    NO_RECORD,
    OLD_START,
    SENT_ALREADY,
    SENT_OFTEN,
    WITHOUT_CONTENT,
    FoundLetter,
    original_of,
    plan_replay,
)
from runtime.dead_letters import MAX_REASON_BYTES, UNMAPPED, DeadLetter, Origin, as_bare_record, as_record
from runtime.kafka import Outgoing
from schemas.topics import LEAD_ADDED, START_REQUESTED

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
NAMES = st.one_of(
    st.text(max_size=8), st.sampled_from(["__connect.errors.topic", "__connect.errors.exception.message"])
)
HEADERS = st.lists(st.tuples(NAMES, st.none() | st.binary(max_size=20)), max_size=10).map(tuple)
ORIGINS = st.builds(
    Origin,
    topic=st.just(LEAD_ADDED.name),
    partition=st.integers(0, 9),
    offset=st.integers(0, 2**60),
    key=st.none() | st.binary(max_size=20),
    value=st.none() | st.binary(max_size=100),
    headers=HEADERS,
)


def as_message(record: Outgoing, *, offset: int = 0, died_at: datetime = NOW) -> Message:
    """A record as it is read back."""
    return Message(
        topic=record.topic,
        partition=0,
        offset=offset,
        key=record.key,
        value=record.value,
        headers=list(record.headers),
        timestamp=(1, round(died_at.timestamp() * 1000)),
    )


def letter(
    offset: int, *, original: int | None = None, value: bytes | None = None, topic: str = LEAD_ADDED.name,
    age: timedelta = timedelta(0), is_replayed: bool = False,
) -> FoundLetter:  # fmt: skip
    """A letter at `offset` whose original was at `original`."""
    original = offset if original is None else original
    origin = Origin(topic=topic, partition=2, offset=original, key=b"k", value=value or b"v%d" % original)
    record = as_record(DeadLetter(origin=origin, kind="undecodable", reason="x"), group="g")
    return replace(FoundLetter.of(as_message(record, offset=offset, died_at=NOW - age)), is_replayed=is_replayed)


def offsets(letters: tuple[FoundLetter, ...]) -> list[int]:
    """Where the letters lie."""
    return [found.place[1] for found in letters]


@given(origin=ORIGINS, reason=st.text(max_size=3000), code=st.none() | st.just("22P02"))
def test_any_record_comes_back_byte_for_byte(origin: Origin, reason: str, code: str | None) -> None:
    """Key, value and headers, whatever they are and are called; the letter knows its origin and a bounded reason."""
    dead = DeadLetter(origin=origin, kind="refused", reason=reason, code=code)
    message = as_message(as_record(dead, group="g"))
    sent = original_of(message)
    assert (sent.topic, sent.key, sent.value) == (origin.topic, origin.key, origin.value)
    assert tuple(sent.headers) == origin.headers
    found = FoundLetter.of(message)
    assert found.origin_id == (origin.topic, str(origin.partition), str(origin.offset))
    assert (found.stage, found.group, found.size) == ("refused", "g", len(origin.value or b""))
    assert len(found.reason.encode()) <= MAX_REASON_BYTES
    assert (f"{code}: {reason}" if code else reason).encode("utf-8", "replace").startswith(found.reason.encode())


@given(origin=ORIGINS, times=st.integers(1, 3))
def test_a_letter_that_dies_itself_keeps_its_first_origin(origin: Origin, times: int) -> None:
    """Whoever reads dead letters and cannot use one writes it back: it is still the letter of the first record."""
    record = as_record(DeadLetter(origin=origin, kind="undecodable", reason="first"), group="g")
    for offset in range(times):
        again = Origin(
            topic=record.topic, partition=0, offset=offset, key=record.key, value=record.value, headers=record.headers
        )
        record = as_record(DeadLetter(origin=again, kind="refused", reason="again"), group="h")
    message = as_message(record)
    assert record.topic == LEAD_ADDED.dead_letters
    assert FoundLetter.of(message).origin_id == (origin.topic, str(origin.partition), str(origin.offset))
    assert FoundLetter.of(message).reason == "first"
    assert tuple(original_of(message).headers) == origin.headers


@given(origin=ORIGINS)
def test_a_record_that_was_replayed_and_died_again_is_the_same_record(origin: Origin) -> None:
    """Twice through the dead letters: the bytes are those of the first time, so that its deaths can be counted."""
    first = as_message(as_record(DeadLetter(origin=origin, kind="undecodable", reason="x"), group="g"))
    sent = original_of(first)
    lying = replace(origin, offset=origin.offset + 1, key=sent.key, value=sent.value, headers=sent.headers)
    second = as_message(as_record(DeadLetter(origin=lying, kind="undecodable", reason="x"), group="g"))
    assert FoundLetter.of(second).digest == FoundLetter.of(first).digest
    assert tuple(original_of(second).headers) == origin.headers


def test_a_letter_of_another_connector_is_understood() -> None:
    """Kafka Connect writes the same headers in its own order, and more of them."""
    headers: list[tuple[str, bytes | None]] = [
        ("mine", b"1"), ("__connect.errors.topic", b"t"), ("__connect.errors.partition", b"3"),
        ("__connect.errors.offset", b"4"), ("__connect.errors.connector.name", b"c"),
        ("__connect.errors.exception.stacktrace", b"..."),
    ]  # fmt: skip
    message = as_message(Outgoing("t.dlq", b"k", b"v", headers))
    assert FoundLetter.of(message).origin_id == ("t", "3", "4")
    assert list(original_of(message).headers) == [("mine", b"1")]


def test_the_same_original_is_sent_once_even_if_it_was_sent_before() -> None:
    """Dead letters are written at least once; their repeats are recognised by the original's place."""
    letters = [
        letter(0, original=7, is_replayed=True),
        letter(1, original=7),
        letter(2, original=8),
        letter(3, original=8),
    ]
    plan = plan_replay(letters, now=NOW)
    assert offsets(plan.letters) == [2]
    assert plan.skipped == {SENT_ALREADY: 2}


def test_at_most_so_many_are_sent_in_order() -> None:
    """`--max` is exact where there are enough, and says what it leaves."""
    plan = plan_replay([letter(n) for n in range(5)], now=NOW, limit=3)
    assert offsets(plan.letters) == [0, 1, 2]
    assert plan.skipped == {BEYOND_LIMIT: 2}


def test_what_was_sent_three_times_is_left_unless_forced() -> None:
    """A record that dies whenever it is sent must not go round for ever; one that is new may look like others."""
    often = [letter(n, value=b"same", is_replayed=n < 3) for n in range(4)]
    plan = plan_replay([*often, letter(9)], now=NOW)
    assert offsets(plan.letters) == [9]
    assert plan.skipped == {SENT_OFTEN: 1}
    assert offsets(plan_replay([*often, letter(9)], now=NOW, force=True).letters) == [3, 9]
    alike = [letter(n, value=b"same") for n in range(5)]
    assert len(plan_replay(alike, now=NOW).letters) == 5


def test_old_start_requests_are_left_unless_forced() -> None:
    """Nobody is to be called today because of a wish of last week, although it died again a minute ago."""
    old = letter(0, topic=START_REQUESTED.name, age=timedelta(days=2), is_replayed=True)
    again = letter(1, original=5, value=b"v0", topic=START_REQUESTED.name)
    young = letter(2, topic=START_REQUESTED.name, age=timedelta(hours=2))
    plan = plan_replay([old, again, young], now=NOW)
    assert offsets(plan.letters) == [2]
    assert plan.skipped == {OLD_START: 1}
    assert offsets(plan_replay([old, again, young], now=NOW, force=True).letters) == [1, 2]


def test_what_has_no_content_is_never_sent() -> None:
    """A letter that was too large says where the original lies; to send nothing in its place would be a lie."""
    origin = Origin(topic=LEAD_ADDED.name, partition=0, offset=3, key=b"k", value=b"v")
    bare = as_bare_record(DeadLetter(origin=origin, kind="undecodable", reason="x"), group="g")
    plan = plan_replay([FoundLetter.of(as_message(bare))], now=NOW, force=True)
    assert plan.letters == ()
    assert plan.skipped == {WITHOUT_CONTENT: 1}


def test_what_was_never_a_record_is_not_taken_for_a_repeat() -> None:
    """Events that the broker refused have no place, so each is its own; a job that fits no page is not sent at all."""
    origins = [Origin(topic=LEAD_ADDED.name, partition=-1, offset=-1, key=b"k", value=b"%d" % n) for n in range(3)]
    kinds = ["refused", "refused", UNMAPPED]
    letters = [
        FoundLetter.of(
            as_message(as_record(DeadLetter(origin=origin, kind=kind, reason="x"), group="g"), offset=offset)
        )
        for offset, (origin, kind) in enumerate(zip(origins, kinds, strict=True))
    ]
    plan = plan_replay(letters, now=NOW)
    assert plan.letters == tuple(letters[:2])
    assert plan.skipped == {NO_RECORD: 1}
