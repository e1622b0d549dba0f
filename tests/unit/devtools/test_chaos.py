"""What chaos says of memory: a leak is seen, a start and a death are none."""

from devtools.chaos import WARM_SECONDS, Growth


def test_growth_is_what_comes_after_the_first_minute() -> None:
    """Loading is no growth; a process that was started again begins anew; the dead are remembered."""
    growth = Growth()
    for second in range(0, 200, 10):
        growth.observe({("sink", 1): 100 + second, ("poll", 2): min(90, 50 + second)}, float(second))
    growth.observe({("sink", 3): 80}, 210.0)
    growth.observe({("sink", 3): 85}, 211.0 + WARM_SECONDS)
    assert growth.grown() == {"sink": 190 - WARM_SECONDS, "poll": 0}
    assert growth.largest() == {"sink": 290, "poll": 90}


def test_who_lived_for_less_than_a_minute_says_nothing_of_growth() -> None:
    """Else each death would be taken for a leak."""
    growth = Growth()
    growth.observe({("start", 1): 10}, 0.0)
    growth.observe({("start", 1): 60}, WARM_SECONDS - 1)
    assert growth.grown() == {}
