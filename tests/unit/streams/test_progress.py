"""A worker that stands still is told from one that has nothing to do."""

from streams.progress import Stillness

A, B = ("topic", 0), ("topic", 1)


def test_only_a_partition_with_something_to_do_can_stand_still() -> None:
    """Committed to its end is idle, however long; a step starts the count anew; the worst partition counts."""
    stillness = Stillness()
    assert stillness.seconds({A: (5, 5), B: (0, 0)}, now=0.0) == 0.0
    assert stillness.seconds({A: (5, 9), B: (0, 0)}, now=100.0) == 0.0
    assert stillness.seconds({A: (5, 99), B: (0, 1)}, now=130.0) == 30.0
    assert stillness.seconds({A: (6, 99), B: (0, 1)}, now=140.0) == 10.0
    assert stillness.seconds({A: (6, 99), B: (1, 1)}, now=150.0) == 10.0


def test_a_partition_that_went_elsewhere_is_forgotten() -> None:
    """It is another worker's to answer for, and begins anew when it comes back."""
    stillness = Stillness()
    stillness.seconds({A: (5, 9)}, now=0.0)
    assert stillness.seconds({}, now=50.0) == 0.0
    assert stillness.seconds({A: (5, 9)}, now=90.0) == 0.0
