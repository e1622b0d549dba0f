"""The breaker: where the database refuses most rows, code or schema are wrong, and dead-lettering all is no help. Pure.

What counts is the last word on each of the last 1,000 distinct rows, so one bad row that comes again and again is one.
"""

from collections.abc import Iterable
from itertools import islice

from runtime.errors import FatalError

RowKey = tuple[str, str]


class Breaker:
    """Remembers whether the database refused each of the last `window` distinct rows, by kind and key."""

    def __init__(self, window: int = 1000) -> None:
        self._window = window
        self._refused: dict[RowKey, bool] = {}  # the row that was seen last is the last

    def check(self, rows: Iterable[RowKey], refused: Iterable[RowKey]) -> None:
        """Raise FatalError where `rows`, of which `refused` were refused, would make these more than half."""
        after = self._after(rows, refused)
        count = sum(after.values())
        if count * 2 > self._window:
            raise FatalError(
                f"the database refused {count} of the last {self._window} rows: the code or the schema is wrong"
            )

    def record(self, rows: Iterable[RowKey], refused: Iterable[RowKey]) -> None:
        """Remember a flush that was committed."""
        self._refused = self._after(rows, refused)

    def _after(self, rows: Iterable[RowKey], refused: Iterable[RowKey]) -> dict[RowKey, bool]:
        bad = set(refused)
        if not bad and not self._refused:
            return {}  # good rows only push bad ones out, and there are none: the usual case costs nothing
        after = dict(self._refused)
        for row in rows:
            after.pop(row, None)
            after[row] = row in bad
        window = dict(islice(after.items(), max(0, len(after) - self._window), None))
        return window if any(window.values()) else {}
