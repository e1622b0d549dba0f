"""The broker inside the confluent-kafka wheel, used from other processes than its own."""

import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest
from confluent_kafka import Producer

from devtools.embedded_broker import PARTITIONS, EmbeddedBroker

_READER = """
import sys
from confluent_kafka import Consumer
consumer = Consumer({"bootstrap.servers": sys.argv[1], "group.id": "g", "auto.offset.reset": "earliest"})
consumer.subscribe([sys.argv[2]])
got = []
while len(got) < 100:
    got += [message.value() for message in consumer.consume(100, timeout=0.2)]
consumer.close()
sys.stdout.write(str(sum(map(int, got))))
"""


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    """A broker that just started."""
    with EmbeddedBroker() as broker:
        yield broker


def test_topics_exist_with_four_partitions(broker: EmbeddedBroker) -> None:
    """Topics come into being when asked for, all with the same number of partitions; asking again is harmless."""
    broker.create_topics(["one", "two.v1"])
    broker.create_topics(["one"])
    topics = Producer({"bootstrap.servers": broker.bootstrap_servers}).list_topics(timeout=10).topics
    assert {name: len(topic.partitions) for name, topic in topics.items()} == {"one": PARTITIONS, "two.v1": PARTITIONS}


def test_another_process_reads_what_this_one_wrote(broker: EmbeddedBroker) -> None:
    """A consumer group in a third process gets every message."""
    broker.create_topics(["numbers"])
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers})
    for number in range(100):
        producer.produce("numbers", str(number).encode())
    assert producer.flush(10) == 0
    command = [sys.executable, "-c", _READER, broker.bootstrap_servers, "numbers"]
    reader = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert reader.stdout == str(sum(range(100)))


def test_nothing_is_left_after_an_error() -> None:
    """The process ends with the block, also when the block fails."""
    processes = list[psutil.Process]()

    def fail() -> None:
        with EmbeddedBroker() as broker:
            processes.append(psutil.Process(broker.pid))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert not processes[0].is_running()
