"""The breaker: where the database refuses most rows, code or schema are wrong, and dead-lettering all is no help."""

from collections import deque

from runtime.errors import FatalError


class Breaker:
    """Remembers whether the database refused each of the last `window` distinct rows."""

    def __init__(self, window: int = 1000) -> None:
        self._window = window
        self._refused: deque[bool] = deque(maxlen=window)

    def check(self, *, rows: int, refused: int) -> None:
        """Raise FatalError where `rows` more, `refused` of them, would fill a window more than half with refusals."""
        after = self._after(rows=rows, refused=refused)
        if len(after) == self._window and sum(after) * 2 > self._window:
            raise FatalError(
                f"the database refused {sum(after)} of the last {self._window} rows: the code or the schema is wrong"
            )

    def record(self, *, rows: int, refused: int) -> None:
        """Remember a flush that was committed."""
        self._refused = self._after(rows=rows, refused=refused)

    def _after(self, *, rows: int, refused: int) -> deque[bool]:
        return deque((*self._refused, *(i < refused for i in range(rows))), maxlen=self._window)
