"""What of the dead letters is sent again: each original once, in order, within the limit, and nothing for ever."""

from datetime import UTC, datetime, timedelta

from runtime.dead_letter_box import FoundLetter, plan_replay
from runtime.dead_letters import DeadLetter, Origin, as_record
from schemas.topics import LEAD_ADDED, START_REQUESTED

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)


def letter(
    offset: int, *, original: int | None = None, value: bytes | None = None, topic: str = LEAD_ADDED.name,
    age: timedelta = timedelta(0), is_replayed: bool = False,
) -> FoundLetter:  # fmt: skip
    """A letter at `offset` whose original was at `original`."""
    original = offset if original is None else original
    origin = Origin(
        topic=topic, partition=2, offset=original, key=b"k", value=value or b"v%d" % original, headers=(("h", b"\xff"),)
    )
    record = as_record(DeadLetter(origin=origin, kind="undecodable", reason="x"), group="g")
    place = Origin(
        topic=record.topic, partition=0, offset=offset, key=record.key, value=record.value, headers=record.headers
    )
    return FoundLetter(place=place, died_at=NOW - age, is_replayed=is_replayed)


def test_a_letter_gives_its_original_back_byte_for_byte() -> None:
    """Key, value and headers; the reason's own headers are left out."""
    original = letter(5).original()
    assert (original.topic, original.key, original.value) == (LEAD_ADDED.name, b"k", b"v5")
    assert list(original.headers) == [("h", b"\xff")]
    assert letter(5).error("exception.message") == "x"


def test_the_same_original_is_sent_once_even_if_it_was_sent_before() -> None:
    """Dead letters are written at least once; their repeats are recognised by the original's place."""
    letters = [
        letter(0, original=7, is_replayed=True),
        letter(1, original=7),
        letter(2, original=8),
        letter(3, original=8),
    ]
    plan = plan_replay(letters, now=NOW)
    assert [found.place.offset for found in plan.letters] == [2]
    assert sum(plan.skipped.values()) == 2
    assert plan.left == ()


def test_at_most_so_many_are_sent_in_order() -> None:
    """`--max` is exact where there are enough."""
    plan = plan_replay([letter(n) for n in range(5)], now=NOW, limit=3)
    assert [found.place.offset for found in plan.letters] == [0, 1, 2]
    assert [found.place.offset for found in plan.left] == [3, 4]


def test_what_died_three_times_is_left_unless_forced() -> None:
    """A record that dies whenever it is sent must not go round for ever."""
    letters = [letter(n, value=b"same") for n in range(3)] + [letter(9)]
    assert [found.place.offset for found in plan_replay(letters, now=NOW).letters] == [9]
    assert len(plan_replay(letters, now=NOW, force=True).letters) == 4


def test_old_start_requests_are_left_unless_forced() -> None:
    """Nobody is to be called today because of a wish of last week."""
    old = letter(0, topic=START_REQUESTED.name, age=timedelta(days=2))
    young = letter(1, topic=START_REQUESTED.name, age=timedelta(hours=2))
    assert plan_replay([old, young], now=NOW).letters == (young,)
    assert plan_replay([old, young], now=NOW, force=True).letters == (old, young)
