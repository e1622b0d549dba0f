"""The life of a job is pure: the same seed, reference, orders and instant always show the same state."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devtools.cloud.plan import MAX_ATTEMPTS, Pace, Plan, draw_plan
from devtools.cloud.timeline import Orders, State, state_at, unfold

CREATED = 1_700_000_000_000
PHONE = "13800000000"

unhurried = settings(deadline=None)  # a busy machine is no failure

references = st.text(min_size=1, max_size=12)
seeds = st.integers(0, 1000)
moments = st.lists(st.integers(0, 40_000), min_size=2, max_size=30).map(sorted)
deeds = st.lists(
    st.tuples(st.integers(0, 30_000), st.sampled_from(["suspend", "resume", "cancel", "hurry"])), max_size=6
).map(lambda given: sorted(given, key=lambda deed: deed[0]))


def given_orders(deeds: list[tuple[int, str]]) -> Orders:
    """Give orders one after the other."""
    orders = Orders()
    for offset, deed in deeds:
        orders = getattr(orders, deed)(CREATED + offset)
    return orders


def shown(state: State, now_ms: int) -> object:
    """Return what the API tells of a state: neither end nor outcome of a call that lasts."""
    calls = [
        (one.started_ms, one.planed_ms, (one.ended_ms, one.status) if one.ended_ms <= now_ms else "Executing")
        for one in state.attempts
    ]
    return state.status, state.failure_reason, state.changed_ms, state.ended_ms, calls


def states(plan: Plan, orders: Orders, offsets: list[int]) -> list[State]:
    """Return what is seen at each offset."""
    timeline = unfold(plan, CREATED, orders)
    return [state_at(timeline, CREATED + offset) for offset in offsets]


@unhurried
@given(seeds, references)
def test_a_plan_is_drawn_once(seed: int, reference: str) -> None:
    """The same seed and reference id give the same plan."""
    assert draw_plan(seed, reference, PHONE, Pace()) == draw_plan(seed, reference, PHONE, Pace())


@unhurried
@given(seeds, references, moments, deeds)
def test_a_final_status_is_never_left(
    seed: int, reference: str, offsets: list[int], given_deeds: list[tuple[int, str]]
) -> None:
    """Once final, nothing of what is seen changes any more, whatever people ordered."""
    seen = states(draw_plan(seed, reference, PHONE, Pace()), given_orders(given_deeds), offsets)
    for before, after in pairwise(seen):
        assert before.changed_ms <= after.changed_ms
        assert len(before.attempts) <= len(after.attempts)
        if before.final:
            assert after == before


@unhurried
@given(seeds, references, deeds)
def test_attempts_are_ordered_and_do_not_overlap(seed: int, reference: str, given_deeds: list[tuple[int, str]]) -> None:
    """Every call is planed after the one before ended, and begins no sooner than planed."""
    timeline = unfold(draw_plan(seed, reference, PHONE, Pace()), CREATED, given_orders(given_deeds))
    earliest = CREATED
    for attempt in timeline.attempts:
        assert earliest <= attempt.planed_ms <= attempt.started_ms <= attempt.ended_ms
        earliest = attempt.ended_ms
    assert timeline.ended_ms is None or timeline.ended_ms >= earliest
    assert len(timeline.attempts) <= MAX_ATTEMPTS


@unhurried
@given(seeds, references, st.integers(0, 30_000), st.sampled_from(["suspend", "resume", "cancel", "hurry"]), deeds)
def test_an_order_never_changes_the_past(
    seed: int, reference: str, offset: int, deed: str, given_deeds: list[tuple[int, str]]
) -> None:
    """What was seen before an order was given is what is seen of that time afterwards."""
    plan = draw_plan(seed, reference, PHONE, Pace())
    earlier = [one for one in given_deeds if one[0] < offset]
    past = list(range(0, offset, 500))
    first = states(plan, given_orders(earlier), past)
    before = [shown(state, CREATED + at) for at, state in zip(past, first, strict=True)]
    later = states(plan, given_orders([*earlier, (offset, deed)]), past)
    assert [shown(state, CREATED + at) for at, state in zip(past, later, strict=True)] == before


@unhurried
@given(seeds, references)
def test_undisturbed_jobs_end_and_durations_are_real_seconds(seed: int, reference: str) -> None:
    """A dialled job that nobody touches is final exactly when its last call has lasted its whole seconds."""
    timeline = unfold(draw_plan(seed, reference, PHONE, Pace()), CREATED, Orders())
    assert timeline.ended_ms is not None
    assert timeline.ended_ms - CREATED <= 27_000
    for attempt in timeline.attempts:
        assert attempt.ended_ms == attempt.started_ms + attempt.seconds * 1000
        assert state_at(timeline, attempt.ended_ms - 1).status == "Executing"
        assert state_at(timeline, attempt.ended_ms).status != "Executing"
    if timeline.status != "Cancelled":
        assert timeline.ended_ms == timeline.attempts[-1].ended_ms


@unhurried
@given(seeds, references, st.integers(0, 10_000))
def test_a_pause_shifts_what_is_left(seed: int, reference: str, length: int) -> None:
    """A job paused before its first call is Paused, and everything comes later by the pause."""
    plan = draw_plan(seed, reference, PHONE, Pace())
    free = unfold(plan, CREATED, Orders())
    held = Orders().suspend(CREATED)
    if plan.steps and plan.steps[0].wait_ms:
        assert state_at(unfold(plan, CREATED, held), CREATED + 100_000).status == "Paused"
        shifted = unfold(plan, CREATED, held.resume(CREATED + length))
        assert [one.started_ms for one in shifted.attempts] == [one.started_ms + length for one in free.attempts]


def test_a_cancelled_call_is_cut() -> None:
    """A job cancelled in a call is Cancelled at that instant, and so is the call."""
    plan = draw_plan(7, "somebody", "no number", Pace(spread_seconds=0))
    state = state_at(unfold(plan, CREATED, Orders().cancel(CREATED + 300)), CREATED + 300)
    assert (state.status, state.ended_ms, state.attempts[0].status) == ("Cancelled", CREATED + 300, "Cancelled")


def test_hurry_ends_every_wait() -> None:
    """A hurried job goes on at once, even if it was paused."""
    plan = draw_plan(7, "somebody", "no number", Pace(spread_seconds=1000))
    orders = Orders().suspend(CREATED + 10).hurry(CREATED + 500)
    timeline = unfold(plan, CREATED, orders)
    assert (timeline.ended_ms, timeline.status) == (CREATED + 1500, "Failed")


def test_the_mix_of_outcomes() -> None:
    """Roughly 60% succeed, 35% fail, 5% are cancelled, and every intent occurs."""
    plans = [draw_plan(7, f"reference-{number}", PHONE, Pace()) for number in range(4000)]
    shares = Counter(plan.status for plan in plans)
    assert shares["Succeeded"] == pytest.approx(2400, abs=120)
    assert shares["Failed"] == pytest.approx(1400, abs=120)
    assert shares["Cancelled"] == pytest.approx(200, abs=60)
    assert {plan.intent for plan in plans} == {0, 1, 2}


def test_speed_shortens_waits_only() -> None:
    """Ten times the speed leaves the length of calls as it is."""
    slow, quick = (draw_plan(7, "somebody", PHONE, Pace(speed=speed)) for speed in (1, 10))
    assert [step.seconds for step in slow.steps] == [step.seconds for step in quick.steps]
    assert [step.wait_ms // 10 for step in slow.steps] == pytest.approx([step.wait_ms for step in quick.steps], abs=1)


def test_an_impossible_pace_is_refused() -> None:
    """A speed of zero would stop the world."""
    with pytest.raises(ValueError, match="speed"):
        Pace(speed=0)
