"""Which calls have a recording to be found, until when its URL works, and in which order offsets are let go."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.recorder import LONGEST_PAUSE, expiry_of, pause_after, recorded, wants_recording
from runtime.progress import OffsetWindow
from schemas.ids import CallJobId, CallTaskId, EventId, ReferenceId, TaskId
from schemas.jobs import StatusChanged

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
PLACE = ("status", 0)


def status(**changes: Any) -> StatusChanged:
    """An answered call that has just ended."""
    event = StatusChanged(
        event_id=EventId("event-1"),
        task_id=TaskId("task-1"),
        reference_id=ReferenceId("ref-1"),
        call_job_id=CallJobId("job-1"),
        version=1,
        observed_at=NOW,
        call_status="Succeeded",
        call_conversation=(),
        changed=("call_status",),
        is_terminal=True,
        call_task_id=CallTaskId("call-1"),
    )
    return msgspec.structs.replace(event, **changes)


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, True),
        ({"changed": ()}, True),
        ({"changed": ("call_task_id", "call_conversation")}, True),
        ({"changed": ("call_conversation",)}, False),
        ({"call_task_id": None}, False),
        ({"call_status": "Failed"}, False),
        ({"call_status": "Executing", "is_terminal": False}, False),
    ],
)
def test_which_calls_are_asked_for(changes: dict[str, Any], *, wanted: bool) -> None:
    """Answered calls that ended, once per end, and again where an event is repeated on purpose."""
    assert wants_recording(status(**changes)) is wanted


@pytest.mark.parametrize(
    ("url", "expiry"),
    [
        ("https://oss/a.wav?Expires=1763884800&Signature=x", datetime(2025, 11, 23, 8, 0, tzinfo=UTC)),
        ("https://oss/a.wav", None),
        ("https://oss/a.wav?Expires=soon", None),
        ("https://oss/a.wav?Expires=1&Expires=2", None),
        ("https://oss/a.wav?Expires=99999999999999999999", None),
        ("https://[broken", None),
    ],
)
def test_a_urls_expiry(url: str, expiry: datetime | None) -> None:
    """Where the URL does not say it, nobody knows."""
    assert expiry_of(url) == expiry


def test_the_same_url_is_the_same_event() -> None:
    """Another time of finding does not matter; another expiry does."""
    first, second, third = (
        recorded(CallJobId("job-1"), CallTaskId("call-1"), f"https://oss/a.wav?Expires={expires}", now)
        for expires, now in ((1763884800, NOW), (1763884800, NOW.replace(hour=9)), (1763888400, NOW))
    )
    assert first.event_id == second.event_id != third.event_id


def test_pauses_grow_to_a_minute() -> None:
    """Patience, and never none at all."""
    assert [pause_after(attempts) for attempts in (1, 2, 3, 4)] == [1, 2, 4, 8]
    assert pause_after(10_000) == LONGEST_PAUSE


@given(order=st.permutations(range(8)))
def test_offsets_are_let_go_from_the_lower_end(order: list[int]) -> None:
    """What is committed never passes an offset in hand, and in the end it is all of them."""
    window = OffsetWindow()
    for offset in range(8):
        window.add(PLACE, offset)
    settled: set[int] = set()
    committed = 0
    for offset in order:
        window.finish(PLACE, offset)
        settled.add(offset)
        committed = max([committed, *window.take_done().values()])
        assert committed == next(free for free in range(9) if free not in settled)
    assert len(window) == 0


def test_a_partition_that_was_given_away_is_forgotten() -> None:
    """What ends later commits nothing; other partitions stay."""
    window = OffsetWindow()
    window.add(PLACE, 5)
    window.add(("status", 1), 7)
    window.forget([PLACE])
    window.finish(PLACE, 5)
    window.finish(("status", 1), 7)
    assert window.take_done() == {("status", 1): 8}
