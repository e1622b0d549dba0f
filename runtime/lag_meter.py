"""Measures lag from outside: what a worker says of itself freezes with it, so nobody is asked but the broker."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, Final, cast

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import ClusterMetadata, ConsumerGroupDescription, OffsetSpec

from runtime.clock import Clock, SystemClock
from runtime.errors import RetryableError
from runtime.kafka import can_reach, make_admin, make_observer
from runtime.lag import GroupState, Measured, Partition, PartitionLag
from runtime.settings import KafkaSettings

TIMEOUT_SECONDS: Final = 10.0
AWAY_SECONDS: Final = 5.0  # of the first question: a role that shall end waits for its answer
AGE_SECONDS: Final = 5.0
# A look reads one record of each partition that lags, so little is fetched at once; and what a transaction holds back,
# or withdraws, has an age too. The end of a partition is told, because behind a committed offset there may be nothing
# but the mark of a transaction's end.
_OBSERVER: Final[dict[str, str | float | bool]] = {
    "auto.offset.reset": "earliest",
    "enable.partition.eof": True,
    "isolation.level": "read_uncommitted",
    "fetch.message.max.bytes": 65_536,
    "queued.max.messages.kbytes": 8_192,
}
_NAME: Final = "callstream-lag"
_STATES: Final = {KafkaError.GROUP_ID_NOT_FOUND: "Dead", KafkaError._UNSUPPORTED_FEATURE: "Unknown"}  # noqa: SLF001 - its name
_EARLIEST, _LATEST = cast(Any, OffsetSpec).earliest, cast(Any, OffsetSpec).latest  # the library has no types for them

Place = tuple[str, int]


class LagMeter:
    """Measures the lag of some groups and joins none of them. All but `ping` are for one thread."""

    def __init__(
        self, settings: KafkaSettings, groups: Mapping[str, tuple[str, ...]], clock: Clock | None = None
    ) -> None:
        self._groups = groups
        self._clock = clock or SystemClock()
        self._admin = make_admin(settings)
        self._pinger = make_admin(settings)  # of its own: the other may be in the middle of a measurement
        self._observer = make_observer(settings, _NAME, **_OBSERVER)

    def measure(self) -> list[PartitionLag]:
        """Return the lag of every partition of every group; raises RetryableError where the broker is away.

        Committed offsets are read before the ends, so a lag is never too small, and none is where all of it is zero:
        what a group made of its last record was in the topics before their ends were read.
        """
        return list(self._look(())[0].lags)

    def look(self, further: Iterable[str] = ()) -> Measured:
        """Return that, with the groups' states and the partitions of their topics and of the `further` ones."""
        measured, metadata = self._look(further)
        brokers = ((number, f"{broker.host}:{broker.port}") for number, broker in metadata.brokers.items())
        return replace(measured, states=tuple(self.states()), brokers=tuple(sorted(brokers)))

    def states(self) -> list[GroupState]:
        """Return what each group is at; raises RetryableError where the broker is away."""
        found = self._admin.describe_consumer_groups(list(self._groups), request_timeout=TIMEOUT_SECONDS)
        return [_state_of(group, future) for group, future in found.items()]

    def ping(self) -> bool:
        """Return whether a broker answers within two seconds."""
        return can_reach(self._pinger)

    def close(self) -> None:
        """Close the client that has to be."""
        self._observer.close()

    def _look(self, further: Iterable[str]) -> tuple[Measured, ClusterMetadata]:
        try:
            metadata = self._admin.list_topics(timeout=AWAY_SECONDS)
            committed = self._committed(metadata)
            partitions = self._partitions(metadata, further)
            lags = [
                PartitionLag(
                    group=group,
                    topic=there.topic,
                    partition=there.partition,
                    low=there.low,
                    end=there.end,
                    committed=committed[group].get((there.topic, there.partition)),
                )
                for group, topics in self._groups.items()
                for topic in topics
                for there in partitions
                if there.topic == topic
            ]
            ages = self._oldest({(lag.topic, lag.partition, lag.start) for lag in lags if lag.records})
        except KafkaException as error:
            raise RetryableError(f"the lag cannot be read: {error.args[0].str()}") from error
        aged = (replace(lag, oldest_ms=ages.get((lag.topic, lag.partition, lag.start))) for lag in lags)
        return Measured(lags=tuple(aged), partitions=tuple(partitions)), metadata

    def _committed(self, metadata: ClusterMetadata) -> dict[str, dict[Place, int]]:
        """Return each group's committed offsets; a group that is not there has none."""
        asked = {
            group: [TopicPartition(*place) for topic in topics for place in _places(metadata, topic)]
            for group, topics in self._groups.items()
        }
        futures = {
            group: self._admin.list_consumer_group_offsets(
                [ConsumerGroupTopicPartitions(group, places)], request_timeout=TIMEOUT_SECONDS
            )[group]
            for group, places in asked.items()
            if places
        }
        return {group: _offsets(futures[group]) if group in futures else {} for group in self._groups}

    def _partitions(self, metadata: ClusterMetadata, further: Iterable[str]) -> list[Partition]:
        topics = dict.fromkeys([*(topic for topics in self._groups.values() for topic in topics), *further])
        places = [place for topic in topics for place in _places(metadata, topic)]
        lows, ends = self._offsets_at(places, _EARLIEST), self._offsets_at(places, _LATEST)
        return [
            Partition(
                topic=topic,
                partition=number,
                low=lows[topic, number],
                end=ends[topic, number],
                leader=there.leader,
                replicas=tuple(there.replicas),
                in_sync=len(there.isrs),
            )
            for topic, number in places
            if (topic, number) in lows and (topic, number) in ends
            for there in [metadata.topics[topic].partitions[number]]
        ]

    def _offsets_at(self, places: Sequence[Place], where: Callable[[], OffsetSpec]) -> dict[Place, int]:
        """Return an offset of each partition; those that went since the metadata was read are left out."""
        if not places:
            return {}
        asked = {TopicPartition(*place): where() for place in places}
        found = {}
        for place, future in self._admin.list_offsets(asked, request_timeout=TIMEOUT_SECONDS).items():
            try:
                found[place.topic, place.partition] = int(future.result(TIMEOUT_SECONDS).offset)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise
        return found

    def _oldest(self, starts: set[tuple[str, int, int]]) -> dict[tuple[str, int, int], int]:
        """Return the timestamp of the first record at or behind each offset, as far as they come within seconds."""
        ages: dict[tuple[str, int, int], int] = {}
        for round_of in _apart(starts):
            waiting = {(topic, partition): start for topic, partition, start in round_of}
            self._observer.assign([TopicPartition(*place, start) for place, start in waiting.items()])
            try:
                for place, timestamp in self._first(set(waiting)):
                    ages[(*place, waiting[place])] = timestamp
            finally:
                self._observer.unassign()
        return ages

    def _first(self, waiting: set[Place]) -> Iterator[tuple[Place, int]]:
        """Yield the timestamp of the first record of each partition that is assigned now, if it has one.

        Raises KafkaException or RetryableError where that cannot be told: an unknown age is not 0.
        """
        deadline = self._clock.monotonic() + AGE_SECONDS
        while waiting and (left := deadline - self._clock.monotonic()) > 0:
            message = self._observer.poll(left)
            if message is None or (place := _place_of(message)) not in waiting:
                continue
            waiting.discard(place)
            self._observer.incremental_unassign([TopicPartition(*place)])
            if (error := message.error()) is None:
                yield place, int(message.timestamp()[1])
            elif error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - its name
                raise KafkaException(error)
        if waiting:
            raise RetryableError(f"the lag cannot be read: no record of {min(waiting)[0]} came")


def _places(metadata: ClusterMetadata, topic: str) -> list[Place]:
    """Return the partitions of a topic; none where it is not there."""
    found = metadata.topics.get(topic)
    return [(topic, number) for number in sorted(found.partitions)] if found else []


def _apart(starts: set[tuple[str, int, int]]) -> Iterator[list[tuple[str, int, int]]]:
    """Divide the offsets so that each part has a partition once: two groups may be at different places of it."""
    left = sorted(starts)
    while left:
        part = list({(topic, partition): (topic, partition, start) for topic, partition, start in left}.values())
        yield part
        left = [start for start in left if start not in part]


def _place_of(message: Message) -> Place:
    return message.topic() or "", message.partition() or 0


def _offsets(future: Future[ConsumerGroupTopicPartitions]) -> dict[Place, int]:
    try:
        found = future.result(TIMEOUT_SECONDS).topic_partitions or []
    except KafkaException as error:
        if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
            return {}
        raise
    return {(place.topic, place.partition): place.offset for place in found if place.offset >= 0}


def _state_of(group: str, future: Future[ConsumerGroupDescription]) -> GroupState:
    try:
        found = future.result()
    except KafkaException as error:
        if state := _STATES.get(error.args[0].code()):
            return GroupState(group=group, state=state, members=0)
        raise RetryableError(f"group {group} cannot be read: {error.args[0].str()}") from error
    name = found.state.name.replace("_", " ").title().replace(" ", "")
    return GroupState(group=group, state=name, members=len(found.members))
