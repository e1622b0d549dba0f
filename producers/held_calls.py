"""Calls of one look at a task: made side by side, while its lease is kept.

A look waits here for all that it asks of the cloud, so here is where the lease is renewed, and where a look ends that
has lost it, or whose service stops.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Final, Protocol, Self, TypeVar

from producers.listing import StoppedError
from producers.schedule import Lease
from runtime.clock import Clock

SIDE_BY_SIDE: Final = 4
LOOK_SECONDS: Final = 0.5
RENEW_SECONDS: Final = 5.0

R = TypeVar("R")


class LeaseLostError(Exception):
    """Another poller has the task by now."""


class Leases(Protocol):
    """Where leases are kept."""

    def renew(self, lease: Lease) -> bool:
        """Keep a task for longer; returns False where somebody else has it by now."""
        ...


class HeldCalls:
    """A block in which calls can be made; used by one thread. What was not begun when the block ends is not made."""

    def __init__(self, lease: Lease, leases: Leases, clock: Clock, stopping: threading.Event) -> None:
        self._lease = lease
        self._leases = leases
        self._clock = clock
        self._stopping = stopping
        self._pool = ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="call")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def ask(self, question: Callable[[], R]) -> R:
        """Return the answer to one question; raises what it raises, LeaseLostError and StoppedError."""
        (answer,) = self.ask_all([question])
        return answer

    def ask_all(self, questions: Sequence[Callable[[], R]]) -> list[R]:
        """Return the answers in order; raises the first error of any, LeaseLostError and StoppedError."""
        futures = [self._pool.submit(question) for question in questions]
        renewed_at = self._clock.monotonic()
        pending = set(futures)
        while pending:
            done, pending = wait(pending, LOOK_SECONDS, FIRST_EXCEPTION)
            for future in done:
                future.result()
            if pending and self._stopping.is_set():
                raise StoppedError
            if pending and self._clock.monotonic() - renewed_at >= RENEW_SECONDS:
                renewed_at = self._clock.monotonic()
                if not self._leases.renew(self._lease):
                    raise LeaseLostError
        return [future.result() for future in futures]
