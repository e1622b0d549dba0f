"""Change detection with confluent-kafka and a dictionary: the floor, which a restart would lose.

Usage: PREFIX=... python -m benchmarks.detectors.bare

Events are acknowledged before offsets are committed, every half second; no row is kept anywhere but in memory.
"""

import signal
from collections import defaultdict
from os import environ

from confluent_kafka import KafkaError, Message, TopicPartition

from benchmarks.detectors.step import observe
from runtime.clock import SystemClock
from runtime.kafka import as_bytes, is_end, make_consumer, make_producer
from runtime.settings import Settings
from schemas.topics import JOBS_POLLED
from streams.changes import PageRow

COMMIT_SECONDS = 0.5


def main() -> None:
    """Detect changes until SIGTERM."""
    prefix, settings, clock = environ["PREFIX"], Settings.load(), SystemClock()
    source = prefix + JOBS_POLLED.name
    consumer = make_consumer(settings, f"{prefix}group")
    producer = make_producer(settings.kafka, **{"queue.buffering.max.messages": 1_000_000})
    rows: dict[bytes, PageRow] = defaultdict(dict)
    done: dict[int, int] = {}
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
    consumer.subscribe([source])
    commit_at = clock.monotonic() + COMMIT_SECONDS
    while not stopping:
        for message in consumer.consume(50, 0.05):
            if is_end(message):
                continue
            assert message.error() is None
            _, records = observe(rows[as_bytes(message.key()) or b""], as_bytes(message.value()) or b"", prefix)
            for record in records:
                producer.produce(
                    record.topic, record.value, record.key, headers=list(record.headers), on_delivery=check
                )
            done[message.partition() or 0] = (message.offset() or 0) + 1
        producer.poll(0)
        if done and clock.monotonic() >= commit_at:
            assert producer.flush(30) == 0
            consumer.commit(offsets=[TopicPartition(source, *place) for place in done.items()], asynchronous=False)
            done.clear()
            commit_at = clock.monotonic() + COMMIT_SECONDS


def check(error: KafkaError | None, _: Message) -> None:
    """Stop at an event that was not delivered."""
    assert error is None, error


if __name__ == "__main__":
    main()
