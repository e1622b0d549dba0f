"""When the calls of one process may be sent: evenly spaced, and later where the service throttles."""

import math
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from time import sleep
from typing import Final

from pyrate_limiter import Limiter, Rate, StateBucket
from pyrate_limiter.limiter import SingleBucketFactory

from runtime.clock import SystemClock

WINDOW_SECONDS: Final = 1.005  # a second, and what two clocks may round
LOOK_SECONDS: Final = 0.002
LONGEST_HOLD_SECONDS: Final = 10.0


class Pace:
    """Spaces calls evenly, so that no window of one second has more than `max_qps` of them; shared between threads.

    A call arrives at some time between its sending and its answer. So the window holds by the service's clock, however
    long calls are on their way, because a call counts until a second after its answer; so do those without one.

    One thread at a time asks anew until its turn has come: the library's own waiting adds up intended pauses instead of
    reading the clock, so threads that overslept would go off together.
    """

    def __init__(self, max_qps: float) -> None:
        self._most = max(1, math.floor(max_qps))
        interval = math.ceil(max(1000 / self._most, 1000 / max_qps))
        self._limiter = Limiter(SingleBucketFactory(StateBucket([Rate(1, interval)]), schedule_leak=False))
        self._turn = threading.Lock()
        self._count = threading.Lock()
        self._clock = SystemClock()
        self._held_until = self._clock.monotonic()
        self._under_way = 0
        self._answered: deque[float] = deque()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Block until a call may be made, in the order of asking as far as the lock is fair; make it in the block."""
        with self._turn:
            while not self._may_go():
                sleep(LOOK_SECONDS)
        try:
            yield
        finally:
            with self._count:
                self._answered.append(self._clock.monotonic())
                self._under_way -= 1

    def hold(self, seconds: float) -> None:
        """Let nobody call for so long, at most ten seconds: who wants to wait longer does so by himself."""
        self._held_until = max(self._held_until, self._clock.monotonic() + min(seconds, LONGEST_HOLD_SECONDS))

    def _may_go(self) -> bool:
        now = self._clock.monotonic()
        with self._count:
            while self._answered and self._answered[0] <= now - WINDOW_SECONDS:
                self._answered.popleft()
            if now < self._held_until or self._under_way + len(self._answered) >= self._most:
                return False
            if not self._limiter.try_acquire("calls", blocking=False):
                return False
            self._under_way += 1
            return True
