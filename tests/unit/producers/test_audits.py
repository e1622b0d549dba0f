"""Whom an audit asks about again, and when."""

from hypothesis import given
from hypothesis import strategies as st

from producers.audits import FIRST_REMINDER, LONGEST_REMINDER, Reminders
from schemas.ids import CallJobId

JOB = CallJobId("job")


def test_pauses_double_up_to_an_hour_and_are_forgotten_when_nobody_asks() -> None:
    """A minute, two, four; what was answered costs no memory after a while, and begins anew if it comes back."""
    reminders, now, pauses = Reminders(), 0.0, []
    for _ in range(9):
        assert reminders.waiting(now) == []
        reminders.note([JOB], now)
        pause = next(seconds for seconds in range(1, 4_000) if not reminders.waiting(now + seconds))
        pauses.append(pause)
        now += pause
    assert pauses == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    now += LONGEST_REMINDER + FIRST_REMINDER
    assert reminders.waiting(now) == []
    reminders.note([JOB], now)
    assert reminders.waiting(now + 59) == [JOB]
    assert reminders.waiting(now + 60) == []


@given(st.lists(st.tuples(st.floats(0, 600), st.sampled_from("abc")), max_size=60))
def test_nobody_is_asked_about_more_often_than_once_a_minute(steps: list[tuple[float, str]]) -> None:
    """Whenever audits look, and at whatever."""
    reminders, now, last = Reminders(), 0.0, dict[str, float]()
    for passed, name in steps:
        now += passed
        if CallJobId(name) not in reminders.waiting(now):
            assert now - last.get(name, -LONGEST_REMINDER) >= FIRST_REMINDER
            reminders.note([CallJobId(name)], now)
            last[name] = now
