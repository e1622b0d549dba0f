"""How far the database is: what is told to the broker, when, and what is not."""

from runtime.progress import COMMIT_SECONDS, Progress


def test_a_steady_trickle_is_committed_within_the_interval() -> None:
    """Far below five seconds, however often something is done; nothing is due where nothing is done."""
    progress = Progress()
    assert not progress.is_due(100.0)
    progress.done({("t", 0): 1})
    assert progress.is_due(100.0)
    progress.tried(100.0)
    progress.committed()
    progress.done({("t", 0): 2})
    assert not progress.is_due(100.0 + COMMIT_SECONDS / 2)
    progress.done({("t", 0): 3, ("t", 1): 8})
    assert progress.is_due(100.0 + COMMIT_SECONDS)
    assert progress.offsets == {("t", 0): 3, ("t", 1): 8}
    assert COMMIT_SECONDS <= 5


def test_a_commit_that_failed_is_tried_again_later() -> None:
    """What the broker did not take stays, also where no further record comes."""
    progress = Progress()
    progress.done({("t", 0): 1})
    progress.tried(100.0)
    assert not progress.is_due(100.0)
    assert progress.is_due(100.0 + COMMIT_SECONDS)
    assert progress.offsets == {("t", 0): 1}


def test_partitions_of_somebody_else_are_not_spoken_for() -> None:
    """After a loss their offsets are dropped uncommitted."""
    progress = Progress()
    progress.done({("t", 0): 1, ("t", 1): 2})
    progress.forget([("t", 0), ("t", 7)])
    assert progress.offsets == {("t", 1): 2}


def test_the_end_of_a_partition_is_done_with_the_last_record_before_it() -> None:
    """Marks of transactions have offsets and are given to nobody; what is in hand keeps the end from being told."""
    progress, place = Progress(), ("t", 0)
    progress.took(place, 4)
    progress.took(place, 5)
    progress.reached(place, 7)
    assert progress.offsets == {}
    progress.done({place: 5})
    assert progress.offsets == {place: 5}
    progress.done({place: 6})
    assert progress.offsets == {place: 7}
    progress.committed()
    progress.reached(place, 9)
    assert progress.offsets == {place: 9}
    progress.took(place, 9)
    progress.reached(place, 11)
    progress.took(place, 11)
    progress.done({place: 10})
    assert progress.offsets == {place: 10}


def test_the_end_of_a_partition_without_records_is_where_to_go_on() -> None:
    """It may hold marks alone."""
    progress = Progress()
    progress.reached(("t", 0), 2)
    assert progress.offsets == {("t", 0): 2}
