"""Which of a partition's questions may be worked on, and up to which of them its offsets may be acknowledged. Pure.

Questions are finished in any order, but those of one key in turn, one at a time; they are given back for
acknowledgement in the order in which they came, each behind all that came before it.
"""

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Place(Generic[T]):
    """Where one item stands in its window; `key` None follows nobody."""

    key: Hashable | None
    item: T
    size: int
    is_finished: bool = False


class Window(Generic[T]):
    """The items in hand of one partition: at most `at_once` begun and not finished.

    It is full from `most` items, or `most_bytes` of them, on, whatever they wait for: that bounds its memory.
    """

    def __init__(self, *, at_once: int, most: int, most_bytes: int) -> None:
        self._at_once = at_once
        self._most = most
        self._most_bytes = most_bytes
        self._line: deque[Place[T]] = deque()
        self._ready: deque[Place[T]] = deque()
        self._behind: dict[Hashable, deque[Place[T]]] = {}
        self._begun = 0
        self._bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether nothing more is to be added until something was taken out."""
        return len(self._line) >= self._most or self._bytes >= self._most_bytes

    @property
    def begun(self) -> int:
        """How many items are being worked on."""
        return self._begun

    def add(self, key: Hashable, item: T, size: int = 0) -> None:
        """Take an item that is to be worked on after all of its key that came before."""
        place = self._stand(Place(key, item, size))
        if key in self._behind:
            self._behind[key].append(place)
        else:
            self._behind[key] = deque()
            self._ready.append(place)

    def skip(self, item: T, size: int = 0) -> None:
        """Take an item that needs no work; it only waits for those before it."""
        self._stand(Place(None, item, size)).is_finished = True

    def begin(self) -> list[Place[T]]:
        """Return what is to be worked on from now on, oldest first."""
        count = min(len(self._ready), self._at_once - self._begun)
        self._begun += count
        return [self._ready.popleft() for _ in range(count)]

    def finish(self, place: Place[T]) -> None:
        """Take note that all effects of a begun item are there; the next of its key may begin."""
        place.is_finished = True
        self._begun -= 1
        behind = self._behind[place.key]
        if behind:
            self._ready.append(behind.popleft())
        else:
            del self._behind[place.key]

    def take_finished(self) -> list[T]:
        """Return, in order and once, the items that may be acknowledged now."""
        finished = []
        while self._line and self._line[0].is_finished:
            place = self._line.popleft()
            self._bytes -= place.size
            finished.append(place.item)
        return finished

    def _stand(self, place: Place[T]) -> Place[T]:
        self._line.append(place)
        self._bytes += place.size
        return place
