"""How far a group's member is, by partition: what is in hand, what is done, what is committed. Pure.

Committing after every effect would cost a round trip each; lag is true enough at this interval, and what a crash lets
come again changes nothing.
"""

from collections.abc import Iterable, Mapping

COMMIT_SECONDS = 1.0

Partition = tuple[str, int]


class Progress:
    """Offsets that are done and not yet committed; a commit that fails is tried again with the next one.

    The end of a partition counts as done when every record before it is: it lies beyond the last one where the marks of
    a producer's transaction follow, which nobody is given and which would look like lag.
    """

    def __init__(self) -> None:
        self._offsets: dict[Partition, int] = {}
        self._done: dict[Partition, int] = {}
        self._taken: dict[Partition, int] = {}
        self._ends: dict[Partition, int] = {}
        self._tried_at = float("-inf")

    @property
    def offsets(self) -> Mapping[Partition, int]:
        """What is to be committed."""
        return self._offsets

    def took(self, partition: Partition, offset: int) -> None:
        """Take note of a record in hand: the end of its partition is behind it."""
        self._taken[partition] = offset + 1
        self._ends.pop(partition, None)

    def reached(self, partition: Partition, end: int) -> None:
        """Take note that nothing lies between the last record that was taken and the end of a partition."""
        self._ends[partition] = end
        if self._done.get(partition) == self._taken.get(partition):
            self._offsets[partition] = end

    def done(self, offsets: Mapping[Partition, int]) -> None:
        """Take the offsets to go on from: the effects of all records below them are there."""
        for partition, offset in offsets.items():
            is_last = offset == self._taken.get(partition)
            self._done[partition] = offset
            self._offsets[partition] = self._ends.get(partition, offset) if is_last else offset

    def is_due(self, now: float) -> bool:
        """Return whether there is something to commit and the last commit is long enough ago."""
        return bool(self._offsets) and now - self._tried_at >= COMMIT_SECONDS

    def tried(self, now: float) -> None:
        """Note that the broker was asked, whatever it answered."""
        self._tried_at = now

    def committed(self) -> None:
        """Note that the broker has taken all."""
        self._offsets = {}

    def forget(self, partitions: Iterable[Partition]) -> None:
        """Leave the offsets of partitions that now belong to somebody else."""
        for partition in partitions:
            self._offsets.pop(partition, None)
            self._done.pop(partition, None)
            self._taken.pop(partition, None)
            self._ends.pop(partition, None)


class OffsetWindow:
    """Offsets in hand, by partition in order; what is finished is done from the lower end only."""

    def __init__(self) -> None:
        self._finished: dict[Partition, dict[int, bool]] = {}

    def __len__(self) -> int:
        return sum(len(offsets) for offsets in self._finished.values())

    def add(self, partition: Partition, offset: int) -> None:
        """Take an offset in hand; those of a partition come in ascending order."""
        self._finished.setdefault(partition, {})[offset] = False

    def finish(self, partition: Partition, offset: int) -> None:
        """Note that nothing more is to be done for an offset; of a partition that was given away it means nothing."""
        if offset in self._finished.get(partition, {}):
            self._finished[partition][offset] = True

    def take_done(self) -> dict[Partition, int]:
        """Return where to go on from, and let go of what is finished with nothing unfinished below it."""
        done = {}
        for partition, offsets in self._finished.items():
            for offset in list(offsets):
                if not offsets[offset]:
                    break
                done[partition] = offset + 1
                del offsets[offset]
        return done

    def forget(self, partitions: Iterable[Partition]) -> None:
        """Let partitions go that were given to somebody else."""
        for partition in partitions:
            self._finished.pop(partition, None)
