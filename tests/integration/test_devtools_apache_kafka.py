"""The real broker: it serves, it comes back with its data, and it leaves nothing."""

from pathlib import Path

import psutil
import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource

from devtools import apache_kafka
from devtools.apache_kafka import ApacheKafka
from devtools.processes import MissingTool, wait_until
from tests.fixtures.kafka import TopicFactory


def _produce(servers: str, topic: str, values: list[bytes]) -> None:
    producer = Producer({"bootstrap.servers": servers, "acks": "all", "log_level": 0})
    for value in values:
        producer.produce(topic, value)
    assert producer.flush(20) == 0


def _consume(servers: str, topic: str, count: int) -> set[bytes | str | None]:
    settings = {"bootstrap.servers": servers, "group.id": f"{topic}-readers", "auto.offset.reset": "earliest"}
    consumer = Consumer(settings | {"log_level": 0})
    consumer.subscribe([topic])
    got: set[bytes | str | None] = set()
    try:
        for _ in range(60):
            got |= {message.value() for message in consumer.consume(count, timeout=0.5)}
            if len(got) >= count:
                break
    finally:
        consumer.close()
    return got


def test_produce_and_consume(kafka: str, new_topic: TopicFactory) -> None:
    """What was acknowledged is read by a consumer group."""
    topic = new_topic()
    values = [b"%d" % number for number in range(100)]
    _produce(kafka, topic, values)
    assert _consume(kafka, topic, 100) == set(values)


def test_topics_are_as_asked(kafka: str, kafka_admin: AdminClient, new_topic: TopicFactory) -> None:
    """Partitions and settings are taken over, names differ, and asking for a topic does not create it."""
    first, second = new_topic(2, **{"cleanup.policy": "compact"}), new_topic()
    assert first != second

    def partitions_of_first() -> int:
        return len(kafka_admin.list_topics(first, timeout=10).topics[first].partitions)

    wait_until(lambda: partitions_of_first() > 0, seconds=30, what="the new topic")
    assert partitions_of_first() == 2
    resource = ConfigResource(ConfigResource.Type.TOPIC, first)
    settings = kafka_admin.describe_configs([resource])[resource].result(10)
    assert settings["cleanup.policy"].value == "compact"
    Producer({"bootstrap.servers": kafka, "log_level": 0}).list_topics(f"{first}-typo", timeout=10)
    assert f"{first}-typo" not in kafka_admin.list_topics(timeout=10).topics


def test_killed_broker_comes_back_with_its_data_and_then_leaves_nothing(tmp_path: Path) -> None:
    """After SIGKILL the same address serves what was acknowledged; the folder stays, the process does not."""
    with ApacheKafka(tmp_path, extra={"auto.create.topics.enable": "true"}) as broker:
        first = psutil.Process(broker.pid)
        assert Path(first.exe()).name == "java"
        _produce(broker.bootstrap_servers, "kept", [b"a", b"b"])
        broker.kill()
        assert not first.is_running()
        broker.start()
        assert _consume(broker.bootstrap_servers, "kept", 2) == {b"a", b"b"}
        second = psutil.Process(broker.pid)
    assert not second.is_running()
    assert (tmp_path / "data" / "meta.properties").exists()


def test_missing_java_is_said_in_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever lacks Java learns what to install, and what to do instead."""
    apache_kafka.install()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingTool, match=r"openjdk-17-jre-headless, or name .* CALLSTREAM_TEST_KAFKA"), ApacheKafka():
        pass


def test_missing_maven_is_said_in_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever lacks Maven learns what to install; a cache that could not be filled does not look filled."""
    monkeypatch.setenv("CALLSTREAM_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingTool, match=r"Debian package maven, or name .* CALLSTREAM_TEST_KAFKA"):
        apache_kafka.install()
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []
