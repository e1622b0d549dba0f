"""Topics exist before anything runs: made as this release wants them, and what differs is named, never changed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from runtime.errors import RetryableError
from schemas.topics import ALL, DAY_MS, DEAD_LETTER_CONFIG, JOBS_POLLED

TIMEOUT_SECONDS = 15.0


@dataclass(frozen=True, kw_only=True)
class WantedTopic:
    """A topic as it should be; the replication factor is the broker's."""

    name: str
    partitions: int
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TopicReport:
    """What was made, and a sentence for each thing that is there but differs."""

    created: tuple[str, ...]
    differences: tuple[str, ...]


def wanted_topics(partitions: int, retention_days: Mapping[str, int] = MappingProxyType({})) -> list[WantedTopic]:
    """Return every topic of the contract with its dead letters; `retention_days` are those that differ, by topic."""
    sources = [WantedTopic(name=topic.name, partitions=partitions, config=topic.config) for topic in ALL]
    letters = [WantedTopic(name=topic.dead_letters, partitions=partitions, config=DEAD_LETTER_CONFIG) for topic in ALL]
    return [
        replace(topic, config={**topic.config, "retention.ms": str(retention_days[topic.name] * DAY_MS)})
        if topic.name in retention_days
        else topic
        for topic in sources + letters
    ]


def ensure_topics(admin: AdminClient, wanted: Sequence[WantedTopic]) -> TopicReport:
    """Create what is missing and compare what is there; raises RetryableError where the brokers are away."""
    created = []
    for topic, future in admin.create_topics(
        [
            NewTopic(topic.name, num_partitions=topic.partitions, replication_factor=-1, config=dict(topic.config))
            for topic in wanted
        ],
        request_timeout=TIMEOUT_SECONDS,
    ).items():
        try:
            future.result()
            created.append(topic)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise RetryableError(f"topic {topic} cannot be made: {error.args[0].str()}") from error
    there = [topic for topic in wanted if topic.name not in created]
    return TopicReport(created=tuple(sorted(created)), differences=tuple(differences(admin, there)))


def differences(admin: AdminClient, wanted: Sequence[WantedTopic]) -> Iterator[str]:
    """Yield a sentence for each wanted topic that is missing and each setting that differs."""
    if not wanted:
        return
    metadata = admin.list_topics(timeout=TIMEOUT_SECONDS).topics
    topics = [topic for topic in wanted if topic.name in metadata]
    yield from (f"{topic.name} is missing, or hidden from this user" for topic in wanted if topic.name not in metadata)
    if not topics:
        return
    configs = admin.describe_configs(
        [ConfigResource(ResourceType.TOPIC, topic.name) for topic in topics], request_timeout=TIMEOUT_SECONDS
    )
    actual = {resource.name: future.result() for resource, future in configs.items()}
    for topic in topics:
        partitions = len(metadata[topic.name].partitions)
        if partitions != topic.partitions:
            fixed = ", and must never change within a version" if topic.name == JOBS_POLLED.name else ""
            yield f"{topic.name}: {partitions} partitions, {topic.partitions} wanted{fixed}"
        for name, value in topic.config.items():
            entry = actual[topic.name].get(name)
            if entry is not None and entry.value != value:
                yield f"{topic.name}: {name} is {entry.value}, {value} wanted"
