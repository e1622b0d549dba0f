"""The flusher: writes batches in threads of its own, and does not give up.

A flush is tried again with growing pauses while the database is away. Three batches may be in its hands: one whose
commit waits for the disk, one whose statements run, one that is ready. So the database waits neither for the disk nor
for a client that consumes and encodes. What is written in which order does not matter, because every write is guarded;
what is reported to be written does: in the order in which batches came, and none after one that was given up.
"""

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_when_event_set,
    wait_random_exponential,
)

from runtime import metrics
from runtime.clock import Clock
from runtime.errors import RetryableError
from runtime.logs import get_logger
from runtime.progress import Partition
from sinks.batches import Batch
from sinks.writer import Tally, Writer

WRITING = 2
READY = 1
SWEEP_SECONDS = 3.0
SWEEP_SHARE = 0.1  # of the flusher's time, at most

log = get_logger(__name__)

Completed = tuple[Batch, Tally]


class Flusher:
    """Hands batches to the writer; every method is called by the loop's thread."""

    def __init__(self, writer: Writer, stopping: threading.Event, clock: Clock) -> None:
        self._writer = writer
        self._stopping = stopping
        self._clock = clock
        self._executor = ThreadPoolExecutor(WRITING, thread_name_prefix="flush")
        self._flights: deque[tuple[Batch, Future[Tally]]] = deque()
        self._head_since = 0.0
        self._sweeping: Future[float] | None = None
        self._sweep_at = clock.monotonic() + SWEEP_SECONDS
        self._gave_up = False

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being written."""
        return not self._flights

    @property
    def is_full(self) -> bool:
        """Whether it has its hands full, so that a further batch would only wait."""
        return len(self._flights) >= WRITING + READY

    def held_up(self, now: float) -> float:
        """Return for how many seconds the oldest batch has been in the writer's hands; 0 where there is none."""
        return now - self._head_since if self._flights else 0.0

    def submit(self, batch: Batch, trigger: str) -> None:
        """Take a batch; its statements are made here, and it is written as soon as there is room; does not wait."""
        if not self._flights:
            self._head_since = self._clock.monotonic()
        metrics.FLUSH_ROWS.labels(trigger).observe(batch.taken)
        batch.portions  # noqa: B018 - made here, while the database works, not in a thread for which it waits
        self._flights.append((batch, self._executor.submit(self._write, batch, trigger)))

    def wait(self, seconds: float) -> None:
        """Block until the oldest batch is written, for at most `seconds`."""
        if self._flights:
            wait([self._flights[0][1]], seconds)

    def completed(self) -> Iterator[Completed]:
        """Take out the batches that were written since, oldest first; raises what made the writer give up for good.

        A batch that was given up because the service stops is dropped, and so is what came after it, written or not:
        its offsets would speak for what is not.
        """
        while self._flights and self._flights[0][1].done():
            batch, future = self._flights.popleft()
            self._head_since = self._clock.monotonic()
            try:
                tally = future.result()
            except RetryableError as error:
                self._gave_up = True
                log.warning("sink.flush_given_up", error=str(error))
            else:
                if not self._gave_up:
                    yield batch, tally

    def forget(self, partitions: Iterable[Partition]) -> None:
        """Have partitions that now belong to somebody else left out of what will be committed."""
        gone = list(partitions)
        for batch, _ in self._flights:
            batch.forget(gone)

    def sweep_when_due(self, now: float) -> None:
        """Sweep parked records every few seconds, in turn with flushes; raises what a sweep raised for good."""
        if self._sweeping is not None:
            if not self._sweeping.done():
                return
            self._sweep_at = now + self._sweeping.result()
            self._sweeping = None
        if now >= self._sweep_at:
            self._sweeping = self._executor.submit(self._sweep)

    def close(self) -> None:
        """Begin nothing more; a flush in a dead connection holds up no end."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _write(self, batch: Batch, trigger: str) -> Tally:
        """Write until it is done; raises RetryableError only when the service stops before the database is back."""
        retrying = Retrying(
            retry=retry_if_exception_type(RetryableError),
            wait=wait_random_exponential(multiplier=0.2, max=5),
            stop=stop_when_event_set(self._stopping),
            sleep=sleep_using_event(self._stopping),
            before_sleep=_log_retry,
            reraise=True,
        )
        with metrics.FLUSH_SECONDS.labels(trigger).time():
            return retrying(self._writer.write, batch)

    def _sweep(self) -> float:
        """Sweep once; returns the seconds until the next time."""
        began = self._clock.monotonic()
        try:
            if self._writer.sweep():
                return 0.0
        except RetryableError as error:
            log.warning("sink.sweep_failed", error=str(error))
        return max(SWEEP_SECONDS, (self._clock.monotonic() - began) / SWEEP_SHARE)


def _log_retry(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    log.warning("sink.waiting", attempt=state.attempt_number, error=str(error))
