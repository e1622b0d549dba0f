"""The sink's loop: consume into a batch while the ones before are written, and commit what the database has committed.

When the flusher has its hands full and the next batch is full too, the loop waits; where that takes long, it pauses the
partitions and goes on polling, so that an outage is back-pressure and never a rebalance.
"""

from collections.abc import Sequence
from functools import partial

from confluent_kafka import Consumer, Message

from runtime import metrics
from runtime.clock import Clock
from runtime.dead_letters import DeadLetter, Origin
from runtime.kafka import as_bytes
from runtime.logs import get_logger
from runtime.progress import Partition
from runtime.service import Service
from runtime.subscription import Subscription
from schemas.codec import DecodeError, decode
from sinks.batches import Batch, BatchPolicy, Place, Record
from sinks.flusher import Flusher
from sinks.mapping import BY_TOPIC
from sinks.writer import Writer

GROUP = "callstream-sink"
IDLE_SECONDS = 0.1
BUSY_SECONDS = 0.01
REVOKE_SECONDS = 5.0
DRAIN_SECONDS = 10.0
PATIENCE_SECONDS = 1.0  # a pause throws away what is prefetched, so it is for outages, not for a flush of 30 ms

log = get_logger(__name__)


class Sink:
    """Consumes every topic that the database is made of; `run` returns when the service stops."""

    def __init__(
        self, *, consumer: Consumer, writer: Writer, policy: BatchPolicy, service: Service, clock: Clock
    ) -> None:
        self._subscription = Subscription(
            consumer, list(BY_TOPIC), clock, before_leaving=self._before_leaving, after_leaving=self._forget
        )
        self._policy = policy
        self._service = service
        self._clock = clock
        self._flusher = Flusher(writer, service.stopping, clock)
        self._batch = Batch()

    def is_assigned(self) -> bool:
        """Return whether the group has given this sink its share, which may be empty."""
        return self._subscription.is_assigned()

    def run(self) -> None:
        """Work until the service stops, then write what is in hand; raises FatalError where the writer does."""
        self._subscription.join()
        try:
            while not self._service.stopping.is_set():
                self._service.health.beat()
                self._turn()
            self._drain(DRAIN_SECONDS)
        finally:
            self._service.stopping.set()
            self._subscription.leave()
            self._flusher.close()

    def _turn(self) -> None:
        self._collect()
        self._subscription.commit_when_due()
        now = self._clock.monotonic()
        self._flusher.sweep_when_due(now)
        self._launch_when_due(now)
        if self._batch.is_full(self._policy):
            if self._flusher.held_up(now) < PATIENCE_SECONDS:
                self._flusher.wait(IDLE_SECONDS)
                return
            self._hold_back(is_held=True)
        else:
            self._hold_back(is_held=False)
        room = self._policy.rows - self._batch.taken
        for message in self._subscription.take(room, self._patience(now)):
            self._add(message, now)

    def _launch_when_due(self, now: float) -> None:
        """Hand the batch on; one that is only old goes on filling while another is being written."""
        trigger = self._batch.trigger(self._policy, now=now)
        if trigger is None or (self._flusher.is_full if trigger != "age" else not self._flusher.is_idle):
            return
        batch, self._batch = self._batch, Batch()
        self._flusher.submit(batch, trigger)

    def _patience(self, now: float) -> float:
        """Return how long the next look for records may take."""
        if not self._flusher.is_idle:
            return BUSY_SECONDS
        if self._batch.opened_at is None:
            return IDLE_SECONDS
        return max(0.0, min(IDLE_SECONDS, self._batch.opened_at + self._policy.seconds - now))

    def _add(self, message: Message, now: float) -> None:
        """Put a record that was consumed since `now` into the batch."""
        topic, value = message.topic() or "", as_bytes(message.value())
        kind = BY_TOPIC[topic]
        try:
            event = decode(value, kind.topic.event)
        except DecodeError as error:
            self._batch.reject(DeadLetter(origin=Origin.of(message), kind="undecodable", reason=str(error)), now=now)
        else:
            place = Place(topic, message.partition() or 0, message.offset() or 0, len(value or b""))
            self._batch.add(Record.of(kind, event, partial(Origin.of, message)), place, now=now)

    def _collect(self) -> None:
        """Note what was written since."""
        for batch, tally in self._flusher.completed():
            self._subscription.done(batch.offsets)
            self._observe(tally.written)

    def _observe(self, written: Sequence[Record]) -> None:
        now = self._clock.now()
        for record in written:
            if record.ended_at is not None:
                metrics.CALL_TO_ROW_SECONDS.observe(max(0.0, (now - record.ended_at).total_seconds()))

    def _drain(self, seconds: float) -> None:
        """Write and commit what is in hand, within `seconds`; what is not written is not committed."""
        deadline = self._clock.monotonic() + seconds
        if not self._batch.is_empty():
            batch, self._batch = self._batch, Batch()
            self._flusher.submit(batch, "drain")
        while not self._flusher.is_idle and (left := deadline - self._clock.monotonic()) > 0:
            self._flusher.wait(left)
            self._collect()
        if not self._flusher.is_idle:
            log.warning("sink.drain_gave_up")
        self._subscription.commit()

    def _hold_back(self, *, is_held: bool) -> None:
        metrics.PAUSED.set(is_held)
        self._subscription.hold_back(is_held=is_held)

    def _before_leaving(self) -> None:
        if not self._service.stopping.is_set():
            self._drain(REVOKE_SECONDS)

    def _forget(self, gone: frozenset[Partition]) -> None:
        self._batch.forget(gone)
        self._flusher.forget(gone)
