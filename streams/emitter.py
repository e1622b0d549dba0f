"""Sending from an event loop: one librdkafka producer, one future per batch.

Faust's own producer costs 50 µs per event and confirms nothing unless each future is awaited; this one costs 2-3 and a
batch is either acknowledged as a whole or raises.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Final

from confluent_kafka import KafkaError, Message

from runtime import metrics
from runtime.errors import CallstreamError, RejectedError
from runtime.kafka import QUEUE_FULL_SECONDS, Outgoing, enqueue, error_for, make_producer
from runtime.settings import KafkaSettings

DELIVERY_TIMEOUT_MS: Final = 1_200_000
FLUSH_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Refusal:
    """A record that the broker, or the client on its behalf, will never take, and why."""

    record: Outgoing
    error: RejectedError


class RefusedError(RejectedError):
    """Some records of a batch were refused for good; every other one is acknowledged."""

    def __init__(self, refusals: Sequence[Refusal]) -> None:
        super().__init__(f"{len(refusals)} records were refused", code=refusals[0].error.code)
        self.refusals = tuple(refusals)


class Emitter:
    """The asyncio side of one producer; to be used from one event loop.

    The producer reports failures only. That the others are acknowledged is known when nothing is left in its queue,
    which is what a flush, in a thread of its own, waits for: nothing has to be done per record.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        overrides = {"linger.ms": 0, "message.timeout.ms": DELIVERY_TIMEOUT_MS, "delivery.report.only.error": True}
        self._producer = make_producer(settings, **overrides)
        self._batches: SimpleQueue[_Batch | None] = SimpleQueue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._flush, name="emitter", daemon=True)
        self._thread.start()

    async def emit(self, records: Sequence[Outgoing]) -> None:
        """Return when the broker has acknowledged every record.

        Waits while the broker is away, up to twenty minutes, then raises RetryableError: any of the records may be in
        its topic, send all again. Raises RefusedError where records can never be taken.
        """
        if not records:
            return
        batch = _Batch(asyncio.get_running_loop())
        for record in records:
            try:
                while not enqueue(self._producer, record, partial(batch.report, record)):
                    self._producer.poll(0)  # the queue is full of what nobody has flushed yet
                    await asyncio.sleep(QUEUE_FULL_SECONDS)
            except CallstreamError as error:
                batch.fail(record, error)
        self._batches.put(batch)
        await batch.is_done
        if batch.failure is not None:
            raise batch.failure
        refused = Counter(refusal.record.topic for refusal in batch.refusals)
        for topic, count in Counter(record.topic for record in records).items():
            metrics.PUBLISHED.labels(topic).inc(count - refused[topic])
        if batch.refusals:
            raise RefusedError(batch.refusals)

    def close(self) -> None:
        """Stop; what is not acknowledged by now stays unsaid to its caller."""
        self._closing.set()
        self._batches.put(None)
        self._thread.join()

    def _flush(self) -> None:
        while (batch := self._batches.get()) is not None:
            while self._producer.flush(FLUSH_SECONDS):
                if self._closing.is_set():
                    return
            batch.finish()


class _Batch:
    """What became of the records of one batch that were not acknowledged; done when all others are."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.is_done: asyncio.Future[None] = loop.create_future()
        self.refusals: list[Refusal] = []
        self.failure: CallstreamError | None = None
        self._loop = loop

    def report(self, record: Outgoing, error: KafkaError | None, _: Message) -> None:
        """Take the report on a record; called by whichever thread polls the producer."""
        if error is not None:
            self.fail(record, error_for(error))

    def fail(self, record: Outgoing, error: CallstreamError) -> None:
        """Take a record that was not acknowledged, and why."""
        if isinstance(error, RejectedError):
            self.refusals.append(Refusal(record, error))
        else:
            self.failure = self.failure or error

    def finish(self) -> None:
        """Wake the batch's sender; called by the flushing thread, maybe when the loop has ended and nobody waits."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._resolve)

    def _resolve(self) -> None:
        if not self.is_done.done():
            self.is_done.set_result(None)
