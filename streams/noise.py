"""Fewer log records from the Kafka clients: during an outage they say the same thing a hundred times a second."""

import logging
from typing import Final

from runtime.clock import Clock

QUIET_SECONDS: Final = 10.0
TALKERS: Final = ("aiokafka", "faust", "mode")


class Quieter(logging.Filter):
    """Lets each kind of record of the talkers through once in a while; everything else always."""

    def __init__(self, clock: Clock, *, seconds: float = QUIET_SECONDS) -> None:
        super().__init__()
        self._clock = clock
        self._seconds = seconds
        self._last: dict[tuple[str, int], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is written; a kind is a logger and a line of its code."""
        if not record.name.startswith(TALKERS):
            return True
        kind, now = (record.name, record.lineno), self._clock.monotonic()
        last = self._last.get(kind)
        if last is not None and now - last < self._seconds:
            return False
        self._last[kind] = now
        return True


def quiet_clients(clock: Clock) -> None:
    """Put the filter before every handler of the root logger."""
    quieter = Quieter(clock)
    for handler in logging.getLogger().handlers:
        handler.addFilter(quieter)
