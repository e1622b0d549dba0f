"""Lag from outside: what Kafka's own tool says of groups in every condition is what the meter and the metrics say."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.request import urlopen

import orjson
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic
from prometheus_client.parser import text_string_to_metric_families

from devtools.apache_kafka import consumer_groups
from devtools.processes import free_port, wait_until
from runtime.clock import SystemClock
from runtime.kafka import Outgoing, Publisher
from runtime.lag import Measured
from runtime.lag_meter import LagMeter
from runtime.monitor import Monitor
from runtime.service import Service
from runtime.settings import KafkaSettings
from schemas.topics import LEAD_ADDED
from sinks.loop import GROUP as SINK_GROUP
from tests.fixtures.command import Command
from tests.fixtures.kafka import TopicFactory

# committed offset, end, lag; None where the tool has no answer
Row = tuple[int | None, int | None, int | None]
LABELS = {
    "kafka_brokers": set(),
    "kafka_broker_info": {"id", "address"},
    "kafka_topic_partitions": {"topic"},
    "kafka_topic_partition_current_offset": {"topic", "partition"},
    "kafka_topic_partition_oldest_offset": {"topic", "partition"},
    "kafka_topic_partition_leader": {"topic", "partition"},
    "kafka_topic_partition_leader_is_preferred": {"topic", "partition"},
    "kafka_topic_partition_replicas": {"topic", "partition"},
    "kafka_topic_partition_in_sync_replica": {"topic", "partition"},
    "kafka_topic_partition_under_replicated_partition": {"topic", "partition"},
    "kafka_consumergroup_current_offset": {"consumergroup", "topic", "partition"},
    "kafka_consumergroup_current_offset_sum": {"consumergroup", "topic"},
    "kafka_consumergroup_lag": {"consumergroup", "topic", "partition"},
    "kafka_consumergroup_lag_sum": {"consumergroup", "topic"},
    "kafka_consumergroup_members": {"consumergroup"},
}


def produce(bootstrap: str, topic: str, count: int, *, partitions: int = 1, transaction: str | None = None) -> None:
    """Put `count` records into each of the first partitions, in a transaction if it has a name."""
    producer = Producer({"bootstrap.servers": bootstrap, **({"transactional.id": transaction} if transaction else {})})
    if transaction:
        producer.init_transactions(30)
        producer.begin_transaction()
    for partition in range(partitions):
        for number in range(count):
            producer.produce(topic, key=str(number % 3), value=b"x", partition=partition)
    if transaction:
        producer.commit_transaction(30)
    else:
        producer.flush(30)


def commit(bootstrap: str, group: str, topic: str, *offsets: int) -> None:
    """Commit for a group that nobody is in; an offset per partition, from the first."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False})
    places = [TopicPartition(topic, partition, offset) for partition, offset in enumerate(offsets)]
    consumer.commit(offsets=places, asynchronous=False)
    consumer.close()


@contextmanager
def member(bootstrap: str, group: str, topic: str) -> Iterator[Consumer]:
    """Somebody who has joined and has a share, and commits only when told."""
    config = {"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False}
    consumer = Consumer({**config, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    wait_until(lambda: consumer.poll(0.1) is not None and bool(consumer.assignment()), seconds=60, what="a share")
    try:
        yield consumer
    finally:
        consumer.close()


def by_the_tool(bootstrap: str, *groups: str) -> dict[tuple[str, str, int], Row]:
    """What Kafka's own tool says of each partition of these groups."""
    words = [word for group in groups for word in ("--group", group)]
    found = {}
    for line in consumer_groups(bootstrap, "--describe", *words).splitlines():
        match line.split():
            case [group, topic, partition, committed, end, lag, *_] if group in groups:
                found[group, topic, int(partition)] = (_number(committed), _number(end), _number(lag))
    return found


def _number(word: str) -> int | None:
    return None if word == "-" else int(word)


def by_the_meter(measured: Measured) -> dict[tuple[str, str, int], Row]:
    """The same of ours."""
    return {(lag.group, lag.topic, lag.partition): (lag.committed, lag.end, lag.records) for lag in measured.lags}


@pytest.fixture
def topic(new_topic: TopicFactory, kafka: str) -> str:
    """Two partitions of ten records each, stamped by the broker."""
    name = new_topic(2, **{"message.timestamp.type": "LogAppendTime"})
    produce(kafka, name, 10, partitions=2)
    return name


def test_the_meter_says_what_kafkas_own_tool_says(
    kafka: str, kafka_admin: AdminClient, new_topic: TopicFactory, topic: str, topic_prefix: str
) -> None:
    """Of groups that work, stand still, are empty, never committed or never were.

    And of topics that grew, that end in the mark of a transaction, or that are compacted.
    """
    grown, marked, compacted = new_topic(1), new_topic(1), new_topic(1, **{"cleanup.policy": "compact"})
    produce(kafka, grown, 4)
    commit(kafka, f"{topic_prefix}-grown", grown, 4)
    kafka_admin.create_partitions([NewPartitions(grown, 3)])[grown].result(30)
    produce(kafka, marked, 5, transaction=topic_prefix)
    commit(kafka, f"{topic_prefix}-marked", marked, 5)
    produce(kafka, compacted, 9)
    commit(kafka, f"{topic_prefix}-compacted", compacted, 3)
    commit(kafka, f"{topic_prefix}-empty", topic, 10, 7)
    topics = {"active": topic, "silent": topic, "empty": topic, "never": topic, "grown": grown, "marked": marked,
              "compacted": compacted}  # fmt: skip
    groups = {f"{topic_prefix}-{name}": (name_of,) for name, name_of in topics.items()}
    meter = LagMeter(KafkaSettings(bootstrap_servers=kafka), groups)
    try:
        with (
            member(kafka, f"{topic_prefix}-active", topic) as active,
            member(kafka, f"{topic_prefix}-silent", topic),
        ):
            active.commit(offsets=[TopicPartition(topic, 0, 6)], asynchronous=False)
            produce(kafka, topic, 3, partitions=2)
            wait_until(lambda: len(meter.measure()) == 13, seconds=30, what="leaders of new partitions")
            said = by_the_tool(kafka, *(group for group in groups if not group.endswith("never")))
            measured = meter.look()
    finally:
        meter.close()
    ours = by_the_meter(measured)
    assert len(said) >= 9
    for place, (committed, end, lag) in said.items():
        assert ours[place][:2] == (committed, end)
        assert lag is None or ours[place][2] == lag
    assert {place: row for place, row in ours.items() if place not in said} == {
        (f"{topic_prefix}-never", topic, 0): (None, 13, 13),
        (f"{topic_prefix}-never", topic, 1): (None, 13, 13),
        (f"{topic_prefix}-grown", grown, 1): (None, 0, 0),
        (f"{topic_prefix}-grown", grown, 2): (None, 0, 0),
    }, "the tool is silent about what was never committed and belongs to no member"
    states = {state.group.removeprefix(f"{topic_prefix}-"): state for state in measured.states}
    assert {name: (state.state, state.members) for name, state in states.items()} == {
        "active": ("Stable", 1), "silent": ("Stable", 1), "empty": ("Empty", 0), "never": ("Dead", 0),
        "grown": ("Empty", 0), "marked": ("Empty", 0), "compacted": ("Empty", 0),
    }  # fmt: skip
    ages = {(lag.group.removeprefix(f"{topic_prefix}-"), lag.partition): lag.oldest_ms or 0 for lag in measured.lags}
    assert ours[f"{topic_prefix}-marked", marked, 0][2] == 1
    assert ages["marked", 0] == 0, "behind the committed offset there is only a transaction's mark"
    assert ages["empty", 0] > ages["never", 0], "each group's own oldest record counts"
    assert ages["never", 0] <= ages["active", 0] < ages["empty", 0]


def test_what_retention_removed_waits_for_nobody(
    kafka: str, kafka_admin: AdminClient, topic: str, topic_prefix: str
) -> None:
    """The tool counts records that are gone; a lag that nobody can ever work off would be no truth."""
    commit(kafka, f"{topic_prefix}-late", topic, 2, 9)
    kafka_admin.delete_records([TopicPartition(topic, 0, 8)])[TopicPartition(topic, 0, 8)].result(30)
    said = by_the_tool(kafka, f"{topic_prefix}-late")
    meter = LagMeter(KafkaSettings(bootstrap_servers=kafka), {f"{topic_prefix}-late": (topic,)})
    try:
        ours = by_the_meter(meter.look())
    finally:
        meter.close()
    assert said[f"{topic_prefix}-late", topic, 0] == (2, 10, 8)
    assert ours == said | {(f"{topic_prefix}-late", topic, 0): (2, 10, 2)}


def metrics_of(port: int) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """What a monitor exports about Kafka: values by name and labels."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        samples = [sample for family in families for sample in family.samples if sample.name.startswith("kafka_")]
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in samples}


@contextmanager
def monitoring(bootstrap: str, group: str, topic: str, letters: str) -> Iterator[tuple[Monitor, int]]:
    """A monitor at work in a thread, and the port of its metrics."""
    meter = LagMeter(KafkaSettings(bootstrap_servers=bootstrap), {group: (topic,)})
    monitor, port = Monitor(meter, [letters], [], SystemClock()), free_port()
    service = Service(role="monitor", host="127.0.0.1", port=port, checks={})
    thread = threading.Thread(target=lambda: monitor.run(service))
    with service:
        thread.start()
        wait_until(monitor.has_measured, seconds=30, what="a first look")
        try:
            yield monitor, port
        finally:
            service.stopping.set()
            thread.join(30)
            assert not thread.is_alive()


def test_the_metrics_are_those_of_kafka_exporter_and_leave_with_what_they_are_about(
    kafka: str, kafka_admin: AdminClient, new_topic: TopicFactory, topic: str, topic_prefix: str
) -> None:
    """Names, labels and values; a topic that is deleted has no offsets and no lag any more."""
    group, letters = f"{topic_prefix}-sink", new_topic(1)
    produce(kafka, letters, 4)
    commit(kafka, group, topic, 3, 10)
    said = by_the_tool(kafka, group)
    with monitoring(kafka, group, topic, letters) as (monitor, port):
        found = metrics_of(port)
        assert {name: {label for label, _ in labels} for name, labels in found} == LABELS
        for (_, _, partition), (committed, end, lag) in said.items():
            place = (("partition", str(partition)), ("topic", topic))
            assert found["kafka_consumergroup_current_offset", (("consumergroup", group), *place)] == committed
            assert found["kafka_consumergroup_lag", (("consumergroup", group), *place)] == lag
            assert found["kafka_topic_partition_current_offset", place] == end
        assert found["kafka_consumergroup_lag_sum", (("consumergroup", group), ("topic", topic))] == 7
        assert found["kafka_consumergroup_current_offset_sum", (("consumergroup", group), ("topic", topic))] == 13
        assert found["kafka_topic_partitions", (("topic", topic),)] == 2
        assert found["kafka_brokers", ()] == 1
        assert monitor.letters() == {letters: 4}
        kafka_admin.delete_topics([topic])[topic].result(30)
        wait_until(lambda: topic not in str(metrics_of(port)), seconds=30, what="series of the deleted topic gone")
        assert found.keys() > metrics_of(port).keys() > set()
    again = NewTopic(topic, num_partitions=1, replication_factor=1)  # whoever made it will delete it
    kafka_admin.create_topics([again])[topic].result(30)


def test_the_command_shows_every_group_with_its_state(
    whole_topics: str, publisher: Publisher, callstream: Callable[[str], Command]
) -> None:
    """For machines one JSON value; for people who works, and what nobody has ever committed."""
    publisher.publish([Outgoing(LEAD_ADDED.name, b"k", b"{}", partition=2)])
    commit(whole_topics, SINK_GROUP, LEAD_ADDED.name, 0)
    command = callstream(whole_topics)
    entries = orjson.loads(command("lag", "--json").stdout.splitlines()[-1])
    [entry] = [entry for entry in entries if entry["records"]]
    seconds = entry.pop("seconds")
    assert 0 <= seconds < 300
    assert entry == {
        "group": SINK_GROUP, "state": "Empty", "members": 0, "topic": LEAD_ADDED.name, "partition": 2,
        "committed": None, "end": entry["end"], "records": 1,
    }  # fmt: skip
    assert {entry["state"] for entry in entries if entry["group"] != SINK_GROUP} == {"Dead"}
    shown = command("lag").stdout
    assert "callstream-sink: nobody works (Empty)" in shown
    assert "never" in shown
