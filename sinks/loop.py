"""The sink's loop: fill a batch while the one before is being written, commit offsets after the database did.

One flush is in flight, in a thread of its own, and does not give up: it is tried again with growing pauses while the
database is away. Meanwhile the loop fills the next batch; when that is full too and the flush takes long, the
partitions are paused and the loop goes on polling, so that an outage is back-pressure and never a rebalance.
"""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
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
from runtime.dead_letters import DeadLetter, Origin
from runtime.errors import RetryableError
from runtime.kafka import as_bytes, is_data
from runtime.logs import get_logger
from runtime.service import Service
from schemas.codec import DecodeError, decode
from sinks.batches import Batch, BatchPolicy, Place, Record, kind_of
from sinks.mapping import BY_TOPIC
from sinks.writer import Tally, Writer

GROUP = "callstream-sink"
SWEEP_SECONDS = 3.0
IDLE_SECONDS = 0.1
REVOKE_SECONDS = 5.0
DRAIN_SECONDS = 10.0
PATIENCE_SECONDS = 1.0  # a pause throws away what is prefetched, so it is for outages, not for a flush of 30 ms

log = get_logger(__name__)


class Sink:
    """Consumes every topic that the database is made of; `run` returns when the service stops."""

    def __init__(
        self, *, consumer: Consumer, writer: Writer, policy: BatchPolicy, service: Service, clock: Clock
    ) -> None:
        self._consumer = consumer
        self._writer = writer
        self._policy = policy
        self._service = service
        self._clock = clock
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="flush")
        self._batch = Batch()
        self._flying: tuple[Batch, Future[Tally]] | None = None
        self._sweeping: Future[None] | None = None
        self._swept_at = self._launched_at = clock.monotonic()
        self._is_paused = False
        self._is_assigned = False

    def is_assigned(self) -> bool:
        """Return whether the group has given this sink its share, which may be empty."""
        return self._is_assigned

    def run(self) -> None:
        """Work until the service stops, then write what is in hand; raises FatalError where the writer does."""
        self._consumer.subscribe(
            list(BY_TOPIC), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )
        try:
            while not self._service.stopping.is_set():
                self._service.health.beat()
                self._turn()
            self._drain(DRAIN_SECONDS)
        finally:
            self._service.stopping.set()
            self._consumer.close()
            self._executor.shutdown()

    def _turn(self) -> None:
        self._land()
        now = self._clock.monotonic()
        trigger = self._batch.trigger(self._policy, now=now)
        if trigger and self._flying is None:
            self._launch(trigger)
        if self._sweeping is None and now - self._swept_at >= SWEEP_SECONDS:
            self._swept_at = now
            self._sweeping = self._executor.submit(self._sweep)  # takes its turn between two flushes
        if self._flying is not None and self._batch.is_full(self._policy):
            if now - self._launched_at < PATIENCE_SECONDS:
                wait([self._flying[1]], IDLE_SECONDS)
                return
            self._pause()
        messages = self._consumer.consume(max(1, self._policy.rows - self._batch.taken), self._patience(now))
        for topic, count in Counter(self._take(message) for message in messages if is_data(message)).items():
            metrics.CONSUMED.labels(topic).inc(count)

    def _patience(self, now: float) -> float:
        """Return how long the next look for records may take."""
        if self._flying is not None or self._batch.opened_at is None:
            return IDLE_SECONDS / 10 if self._flying is not None else IDLE_SECONDS
        return max(0.0, min(IDLE_SECONDS, self._batch.opened_at + self._policy.seconds - now))

    def _take(self, message: Message) -> str:
        """Put a record into the batch; returns its topic."""
        topic, value = message.topic() or "", as_bytes(message.value())
        kind = kind_of(topic)
        now = self._clock.monotonic()
        try:
            event = decode(value, kind.topic.event)
        except DecodeError as error:
            letter = DeadLetter(origin=Origin.of(message), kind="undecodable", reason=str(error))
            self._batch.reject(letter, now=now)
        else:
            place = Place(topic, message.partition() or 0, message.offset() or 0, len(value or b""))
            self._batch.add(Record(kind, event, partial(Origin.of, message)), place, now=now)
        return topic

    def _launch(self, trigger: str) -> None:
        batch, self._batch = self._batch, Batch()
        self._launched_at = self._clock.monotonic()
        metrics.FLUSHES.labels(trigger).inc()
        metrics.FLUSH_ROWS.observe(batch.taken)
        self._flying = batch, self._executor.submit(self._write, batch)

    def _write(self, batch: Batch) -> Tally:
        """Write until it is done; raises RetryableError only when the service stops before the database is back."""
        retrying = Retrying(
            retry=retry_if_exception_type(RetryableError),
            wait=wait_random_exponential(multiplier=0.2, max=5),
            stop=stop_when_event_set(self._service.stopping),
            sleep=sleep_using_event(self._service.stopping),
            before_sleep=_log_retry,
            reraise=True,
        )
        with metrics.FLUSH_SECONDS.time():
            return retrying(self._writer.write, batch)

    def _land(self) -> None:
        """Commit the offsets of a flush that has ended and let the partitions flow again."""
        if self._sweeping is not None and self._sweeping.done():
            sweeping, self._sweeping = self._sweeping, None
            sweeping.result()
        if self._flying is None or not self._flying[1].done():
            return
        batch, future = self._flying
        self._flying = None
        try:
            future.result()
        except RetryableError as error:  # given up because the service stops: not written, not committed
            log.warning("sink.flush_given_up", error=str(error))
            return
        self._commit(batch)
        self._observe(batch)
        self._resume()

    def _commit(self, batch: Batch) -> None:
        offsets = [TopicPartition(topic, partition, offset) for (topic, partition), offset in batch.offsets.items()]
        if not offsets:
            return
        try:
            self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            log.warning("sink.commit_failed", error=error.args[0].name())

    def _observe(self, batch: Batch) -> None:
        now = self._clock.now()
        for record in batch.records["status"].values():
            event = record.event
            ended_at = getattr(event, "ended_at", None)
            if ended_at is not None and "call_status" in getattr(event, "changed", ()):
                metrics.CALL_TO_ROW_SECONDS.observe(max(0.0, (now - ended_at).total_seconds()))

    def _sweep(self) -> None:
        try:
            self._writer.sweep()
        except RetryableError as error:
            log.warning("sink.sweep_failed", error=str(error))

    def _drain(self, seconds: float) -> None:
        """Write and commit what is in hand, within `seconds`; what is not written is not committed."""
        deadline = self._clock.monotonic() + seconds
        for trigger in ("in_flight", "drain"):
            if trigger == "drain" and not self._batch.is_empty():
                self._launch(trigger)
            if self._flying is None:
                continue
            try:
                self._flying[1].result(max(0.0, deadline - self._clock.monotonic()))
                self._land()
            except (TimeoutError, RetryableError) as error:
                log.warning("sink.drain_gave_up", error=type(error).__name__)
                return

    def _pause(self) -> None:
        if not self._is_paused:
            self._is_paused = True
            self._consumer.pause(self._consumer.assignment())

    def _resume(self) -> None:
        if self._is_paused and not self._batch.is_full(self._policy):
            self._is_paused = False
            self._consumer.resume(self._consumer.assignment())

    def _on_assign(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        self._is_assigned = True
        consumer.incremental_assign(list(partitions))
        if self._is_paused:
            consumer.pause(list(partitions))
        log.info("sink.assigned", partitions=len(partitions))

    def _on_revoke(self, _consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        if not self._service.stopping.is_set():
            self._drain(REVOKE_SECONDS)
        self._forget(partitions)
        log.info("sink.revoked", partitions=len(partitions))

    def _on_lost(self, _consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        self._forget(partitions)
        log.warning("sink.lost", partitions=len(partitions))

    def _forget(self, partitions: Sequence[TopicPartition]) -> None:
        gone = [(partition.topic, partition.partition) for partition in partitions]
        self._batch.forget(gone)
        if self._flying is not None:
            self._flying[0].forget(gone)


def _log_retry(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    log.warning("sink.waiting", attempt=state.attempt_number, error=str(error))
