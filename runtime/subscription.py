"""A member of a consumer group whose effects are not the records' only trace: what it takes, holds back and commits.

The caller goes on taking while it holds back, so the group keeps it, and says what is done after the effect. Whatever a
commit could not tell the broker is told with the next one. All methods are for the thread that made it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from runtime import metrics
from runtime.clock import Clock
from runtime.kafka import in_place_of, is_data, is_end, is_unreadable
from runtime.logs import get_logger
from runtime.progress import Partition, Progress

MOST_TAKEN = 100_000  # the client refuses to be asked for more than a million

log = get_logger(__name__)


class Subscription:
    """One consumer's share of its topics.

    `before_leaving` may finish, and call done, what is in hand of partitions that are about to be given away;
    `after_leaving` is told which ones are gone, also where nobody asked before.
    """

    def __init__(
        self,
        consumer: Consumer,
        topics: Sequence[str],
        clock: Clock,
        *,
        before_leaving: Callable[[], None] = lambda: None,
        after_leaving: Callable[[frozenset[Partition]], None] = lambda _partitions: None,
    ) -> None:
        self._consumer = consumer
        self._topics = list(topics)
        self._clock = clock
        self._before_leaving = before_leaving
        self._after_leaving = after_leaving
        self._progress = Progress()
        self._mine: set[Partition] = set()
        self._skipped: dict[Partition, int] = {}  # where it went on behind the last unreadable record
        self._is_held = False
        self._is_assigned = False

    def is_assigned(self) -> bool:
        """Return whether the group has given this member its share, which may be empty."""
        return self._is_assigned

    def join(self) -> None:
        """Ask the group for a share."""
        self._consumer.subscribe(
            self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def take(self, most: int, seconds: float) -> list[Message]:
        """Return up to `most` records, waiting for the first; to be called every few seconds, held back or not.

        In the place of one that the client cannot unpack there is one without a value, so that its place is reported.
        """
        messages: list[Message] = []
        counts: Counter[str] = Counter()
        for message in self._consumer.consume(min(max(1, most), MOST_TAKEN), seconds):
            place, offset = (message.topic() or "", message.partition() or 0), message.offset() or 0
            if is_data(message):
                messages.append(message)
            elif is_unreadable(message) and self._skip(place, offset):
                messages.append(in_place_of(message))
            else:
                if is_end(message) and place in self._mine:
                    self._progress.reached(place, offset)
                continue
            self._progress.took(place, offset)
            counts[place[0]] += 1
        for topic, count in counts.items():
            metrics.CONSUMED.labels(topic).inc(count)
        return messages

    def hold_back(self, *, is_held: bool) -> None:
        """Let no more records come, those of partitions still to be assigned included, or let them come again."""
        if is_held != self._is_held:
            self._is_held = is_held
            change = self._consumer.pause if is_held else self._consumer.resume
            change(self._consumer.assignment())

    def done(self, offsets: Mapping[Partition, int]) -> None:
        """Take the offsets to go on from; those of partitions that are no longer ours mean nothing."""
        self._progress.done({partition: offset for partition, offset in offsets.items() if partition in self._mine})

    def commit_when_due(self) -> None:
        """Commit what is done, every second at most."""
        if self._progress.is_due(self._clock.monotonic()):
            self.commit()

    def commit(self) -> None:
        """Commit what is done; where the broker does not take it, it is tried again when due."""
        self._progress.tried(self._clock.monotonic())
        if not self._progress.offsets:
            return
        offsets = [TopicPartition(*partition, offset) for partition, offset in self._progress.offsets.items()]
        try:
            self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            log.warning("subscription.commit_failed", error=error.args[0].name())
        else:
            self._progress.committed()

    def leave(self) -> None:
        """Leave the group at once."""
        self._consumer.close()

    def _skip(self, partition: Partition, offset: int) -> bool:
        """Go on behind a record that cannot be unpacked; where the client cannot do so now, it gives it again."""
        if partition not in self._mine or self._skipped.get(partition, 0) > offset:
            return False
        try:
            self._consumer.seek(TopicPartition(*partition, offset + 1))
        except KafkaException as error:
            log.warning("subscription.skip_failed", topic=partition[0], error=error.args[0].name())
            return False
        self._skipped[partition] = offset + 1
        return True

    def _on_assign(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        self._is_assigned = True
        self._mine |= _names(partitions)
        metrics.REBALANCES.labels("assigned").inc()
        consumer.incremental_assign(list(partitions))
        if self._is_held:
            consumer.pause(list(partitions))
        log.info("subscription.assigned", partitions=len(partitions))

    def _on_revoke(self, _consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        metrics.REBALANCES.labels("revoked").inc()
        self._before_leaving()
        self.commit()
        self._forget(_names(partitions))
        log.info("subscription.revoked", partitions=len(partitions))

    def _on_lost(self, _consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        metrics.REBALANCES.labels("lost").inc()
        self._forget(_names(partitions))
        log.warning("subscription.lost", partitions=len(partitions))

    def _forget(self, gone: frozenset[Partition]) -> None:
        self._mine -= gone
        self._progress.forget(gone)
        for partition in gone:
            self._skipped.pop(partition, None)
        self._after_leaving(gone)


def _names(partitions: Iterable[TopicPartition]) -> frozenset[Partition]:
    return frozenset((partition.topic, partition.partition) for partition in partitions)
