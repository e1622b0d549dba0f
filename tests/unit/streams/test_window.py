"""The window of a partition: side by side, in turn per key, acknowledged in order."""

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from streams.window import Place, Window

AT_ONCE, MOST, MOST_BYTES = 3, 8, 100


class Windows(RuleBasedStateMachine):
    """Whatever is added, begun and finished in whatever order, the promises hold."""

    def __init__(self) -> None:
        super().__init__()
        self.window: Window[int] = Window(at_once=AT_ONCE, most=MOST, most_bytes=MOST_BYTES)
        self.keys: dict[int, str] = {}
        self.added: list[int] = []
        self.begun: list[Place[int]] = []
        self.order: dict[str, list[int]] = {}
        self.finished: set[int] = set()
        self.settled: list[int] = []

    @precondition(lambda self: not self.window.is_full)
    @rule(key=st.sampled_from("abcdef"))
    def add(self, key: str) -> None:
        """Take a question."""
        item = len(self.added)
        self.keys[item] = key
        self.added.append(item)
        self.window.add(key, item)

    @precondition(lambda self: not self.window.is_full)
    @rule()
    def skip(self) -> None:
        """Take what asks nothing."""
        item = len(self.added)
        self.added.append(item)
        self.finished.add(item)
        self.window.skip(item)

    @rule()
    def begin(self) -> None:
        """Begin what may be begun; where nothing runs and something waits, that is at least one."""
        places = self.window.begin()
        is_something_open = any(item not in self.finished for item in self.added)
        assert places or self.begun or not is_something_open
        for place in places:
            self.order.setdefault(self.keys[place.item], []).append(place.item)
        self.begun += places

    @precondition(lambda self: self.begun)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        """End any that is under way."""
        place = self.begun.pop(data.draw(st.integers(0, len(self.begun) - 1)))
        self.finished.add(place.item)
        self.window.finish(place)

    @rule()
    def settle(self) -> None:
        """Acknowledge what may be: all that is finished and has nothing unfinished before it."""
        self.settled += self.window.take_finished()
        open_items = [item for item in self.added if item not in self.finished]
        assert len(self.settled) == (open_items[0] if open_items else len(self.added))

    @invariant()
    def promises(self) -> None:
        """Few at once, one of a key, in turn; acknowledged in order, once, and only what is finished."""
        assert len(self.begun) <= AT_ONCE
        running = [self.keys[place.item] for place in self.begun]
        assert len(set(running)) == len(running)
        assert all(items == sorted(items) for items in self.order.values())
        assert self.settled == self.added[: len(self.settled)]
        assert set(self.settled) <= self.finished
        assert self.window.is_full == (len(self.added) - len(self.settled) >= MOST)


TestWindows = Windows.TestCase


@given(st.lists(st.integers(1, 40), max_size=20))
def test_a_window_is_full_of_bytes_as_well(sizes: list[int]) -> None:
    """Its memory is bounded by what its items hold, and is given back when they are acknowledged."""
    window: Window[int] = Window(at_once=1, most=1_000, most_bytes=MOST_BYTES)
    held = 0
    for item, size in enumerate(sizes):
        assert window.is_full == (held >= MOST_BYTES)
        window.add(item, item, size)
        held += size
        if item % 3 == 0:
            for place in window.begin():
                window.finish(place)
            held -= sum(sizes[settled] for settled in window.take_finished())
