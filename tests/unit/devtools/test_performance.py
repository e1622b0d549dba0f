"""What the demo says at its end."""

from dataclasses import replace

from devtools.performance import Summary

NOTHING = Summary(
    leads=0,
    tasks=1,
    by_status={},
    by_interest={},
    statements={},
    delays=(),
    duration_seconds=1.0,
    checks={},
    problems=(),
)


def test_a_delay_is_said_of_one_lead_too() -> None:
    """Of none it is unknown; of two it is between them."""
    assert [NOTHING.delay(percent) for percent in (50, 99)] == [None, None]
    assert [replace(NOTHING, delays=[1.5]).delay(percent) for percent in (50, 99)] == [1.5, 1.5]
    assert replace(NOTHING, delays=[1.0, 2.0]).delay(50) == 1.5
