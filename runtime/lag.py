"""Consumer lag from outside: committed offsets against what the topics hold, in records and in seconds.

What a worker says of itself freezes with it, so nobody is asked but the broker. A partition never committed counts from
its low watermark. Seconds are the age of the oldest record not yet processed, by the broker's own timestamp.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from confluent_kafka import Consumer, KafkaException, TopicPartition

from runtime.errors import RetryableError
from runtime.kafka import can_reach, make_admin, make_observer
from runtime.settings import KafkaSettings
from schemas.instants import to_milliseconds

TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class PartitionLag:
    """How far a group is behind in one partition; `committed` is None where it never committed."""

    group: str
    topic: str
    partition: int
    low: int
    end: int
    committed: int | None
    oldest_ms: int | None = None

    @property
    def records(self) -> int:
        """Records not yet processed, never negative."""
        start = self.low if self.committed is None else max(self.committed, self.low)
        return max(0, self.end - start)

    def seconds(self, now: datetime) -> float:
        """Age of the oldest record not yet processed; 0 where there is none."""
        if self.oldest_ms is None:
            return 0.0
        return max(0.0, (to_milliseconds(now) - self.oldest_ms) / 1000)


class LagMeter:
    """Measures the lag of some groups; keeps a client per group, joins none of them."""

    def __init__(self, settings: KafkaSettings, groups: Mapping[str, tuple[str, ...]]) -> None:
        self._groups = groups
        self._pinger = make_admin(settings)  # of its own: the others may be in the middle of a measurement
        self._clients = {group: make_observer(settings, group) for group in groups}

    def measure(self) -> list[PartitionLag]:
        """Return the lag of every partition of every group; raises RetryableError where the broker is away."""
        try:
            return [lag for group, topics in self._groups.items() for lag in self._of_group(group, topics)]
        except KafkaException as error:
            raise RetryableError(f"the lag cannot be read: {error.args[0].str()}") from error

    def ping(self) -> bool:
        """Return whether a broker answers within two seconds."""
        return can_reach(self._pinger)

    def close(self) -> None:
        """Close the clients."""
        for client in self._clients.values():
            client.close()

    def _of_group(self, group: str, topics: Iterable[str]) -> Iterable[PartitionLag]:
        client = self._clients[group]
        metadata = client.list_topics(timeout=TIMEOUT_SECONDS).topics
        asked = [
            TopicPartition(topic, partition)
            for topic in topics
            if topic in metadata
            for partition in sorted(metadata[topic].partitions)
        ]
        for found in client.committed(asked, timeout=TIMEOUT_SECONDS):
            low, end = client.get_watermark_offsets(found, timeout=TIMEOUT_SECONDS)
            committed = found.offset if found.offset >= 0 else None
            lag = PartitionLag(
                group=group, topic=found.topic, partition=found.partition, low=low, end=end, committed=committed
            )
            yield self._with_age(client, lag) if lag.records else lag

    def _with_age(self, client: Consumer, lag: PartitionLag) -> PartitionLag:
        client.assign([TopicPartition(lag.topic, lag.partition, lag.end - lag.records)])
        try:
            message = client.poll(2.0)
        finally:
            client.unassign()
        oldest = message.timestamp()[1] if message is not None and message.error() is None else None
        return PartitionLag(
            group=lag.group,
            topic=lag.topic,
            partition=lag.partition,
            low=lag.low,
            end=lag.end,
            committed=lag.committed,
            oldest_ms=oldest,
        )
