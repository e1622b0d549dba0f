"""The sink's loop at a rebalance and at its end: what is written, what is committed, what is not."""

import threading
from types import SimpleNamespace
from typing import Any, cast

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from devtools.processes import wait_until
from runtime.clock import SystemClock
from runtime.errors import RetryableError
from schemas.codec import encode
from schemas.ids import LeadId, TaskId
from schemas.leads import LeadAdded
from schemas.topics import LEAD_ADDED
from sinks.batches import Batch, BatchPolicy
from sinks.loop import Sink
from sinks.writer import Tally

TOPIC = LEAD_ADDED.name


class FakeMessage:
    """A record as the client gives it."""

    def __init__(self, partition: int, offset: int) -> None:
        self._place = partition, offset
        event = LeadAdded(task_id=TaskId("t"), leads_id=LeadId(str(offset)), leads_name="n", leads_phone="1")
        self._value = encode(event)

    def error(self) -> Any:
        """There is none."""
        return None

    def topic(self) -> str:
        """The topic of leads."""
        return TOPIC

    def partition(self) -> int:
        """As it was made."""
        return self._place[0]

    def offset(self) -> int:
        """As it was made."""
        return self._place[1]

    def value(self) -> bytes:
        """A lead."""
        return self._value


class FakeEnd(FakeMessage):
    """The client's word that a partition has no more for now."""

    def error(self) -> Any:
        """Which is its way to say so."""
        return KafkaError(KafkaError._PARTITION_EOF)


class FakeConsumer:
    """Gives what waits, and remembers what was committed and what is paused."""

    def __init__(self) -> None:
        self.committed: list[tuple[str, int, int]] = []
        self.refuses = False
        self.asked = 0
        self.waiting: list[FakeMessage] = []
        self.assigned: list[TopicPartition] = []
        self.paused: set[int] = set()

    def consume(self, limit: int, _timeout: float) -> list[FakeMessage]:
        """Give what waits; remember for how many it was asked."""
        self.asked, given, self.waiting = limit, self.waiting, []
        return given

    def incremental_assign(self, partitions: list[TopicPartition]) -> None:
        """Take more partitions."""
        self.assigned += partitions

    def assignment(self) -> list[TopicPartition]:
        """Return what was assigned."""
        return self.assigned

    def pause(self, partitions: list[TopicPartition]) -> None:
        """Pause some."""
        self.paused |= {place.partition for place in partitions}

    def resume(self, partitions: list[TopicPartition]) -> None:
        """Let some flow."""
        self.paused -= {place.partition for place in partitions}

    def commit(self, *, offsets: list[TopicPartition], asynchronous: bool) -> None:
        """Take the offsets, or refuse them all."""
        assert not asynchronous
        if self.refuses:
            raise KafkaException(KafkaError(KafkaError.REBALANCE_IN_PROGRESS))
        self.committed += [(place.topic, place.partition, place.offset) for place in offsets]


class FakeWriter:
    """Remembers what was written; waits where it is told to."""

    def __init__(self) -> None:
        self.written: list[Batch] = []
        self.may_write = threading.Event()
        self.may_write.set()
        self.is_away = False
        self.holding = False
        self._gate: threading.Event | None = None

    def hold(self) -> threading.Event:
        """Have the next batch wait, and only that; returns what lets it go."""
        self._gate = threading.Event()
        return self._gate

    def write(self, batch: Batch) -> Tally:
        """Take the batch."""
        gate, self._gate = self._gate, None
        if gate:
            self.holding = True
            gate.wait(10)
        self.may_write.wait(10)
        if self.is_away:
            raise RetryableError("away")
        self.written.append(batch)
        return Tally()


def batch_of(message: FakeMessage) -> Batch:
    """A batch of one record."""
    batch = Batch()
    batch.offsets[TOPIC, message.partition()] = message.offset() + 1
    batch.taken = 1
    return batch


def add(loop: Sink, *messages: FakeMessage, now: float) -> None:
    """Let records come."""
    for message in messages:
        loop._add(cast(Any, message), now)


def sink(*, rows: int = 1000) -> tuple[Sink, FakeConsumer, FakeWriter, threading.Event]:
    """A loop between fakes, not running, with one record of each of two partitions in hand."""
    consumer, writer, stopping = FakeConsumer(), FakeWriter(), threading.Event()
    loop = Sink(
        consumer=cast(Any, consumer),
        writer=cast(Any, writer),
        policy=BatchPolicy(rows=rows, seconds=0.2),
        service=cast(Any, SimpleNamespace(stopping=stopping)),
        clock=SystemClock(),
    )
    loop._subscription._on_assign(cast(Any, consumer), [TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)])
    add(loop, FakeMessage(0, 4), FakeMessage(1, 9), now=0.0)
    return loop, consumer, writer, stopping


def test_what_is_in_hand_is_written_and_committed_before_a_partition_goes() -> None:
    """The next owner begins after it."""
    loop, consumer, writer, _ = sink()
    loop._subscription._on_revoke(cast(Any, consumer), [TopicPartition(TOPIC, 0)])
    assert [batch.taken for batch in writer.written] == [2]
    assert sorted(consumer.committed) == [(TOPIC, 0, 5), (TOPIC, 1, 10)]


def test_what_is_lost_is_dropped_uncommitted() -> None:
    """Neither what is in hand, nor what is being written, nor what is written and not yet committed."""
    loop, consumer, writer, _ = sink()
    loop._launch_when_due(now=1.0)
    loop._flusher.wait(10)
    loop._collect()
    writer.may_write.clear()
    for offset in (5, 6):
        add(loop, FakeMessage(0, offset), FakeMessage(1, offset + 5), now=1.0)
        loop._launch_when_due(now=2.0)
    loop._subscription._on_lost(cast(Any, consumer), [TopicPartition(TOPIC, 0)])
    writer.may_write.set()
    loop._drain(10)
    assert {(topic, partition) for topic, partition, _ in consumer.committed} == {(TOPIC, 1)}


def test_a_partition_that_comes_during_an_outage_waits_as_the_others_do() -> None:
    """It flows with them when the database is back."""
    loop, consumer, _, _ = sink()
    assert consumer.paused == set()
    loop._hold_back(is_held=True)
    loop._subscription._on_assign(cast(Any, consumer), [TopicPartition(TOPIC, 2)])
    assert consumer.paused == {0, 1, 2}
    loop._hold_back(is_held=False)
    assert consumer.paused == set()


def test_nothing_is_committed_before_it_is_written_nor_what_comes_after_a_batch_that_was_not() -> None:
    """Offsets of a later batch, although it is written, would speak for the one before it, which was given up."""
    loop, consumer, writer, stopping = sink()
    writer.is_away = True
    writer.may_write.clear()
    loop._launch_when_due(now=1.0)
    add(loop, FakeMessage(0, 5), now=1.0)
    loop._collect()
    loop._subscription.commit()
    stopping.set()
    writer.may_write.set()
    loop._flusher.wait(10)
    writer.is_away = False
    loop._drain(10)
    assert [batch.taken for batch in writer.written] == [1]
    assert consumer.committed == []


def test_batches_land_in_their_order_although_a_later_one_is_written_first() -> None:
    """Offsets are those of what is written without a gap."""
    loop, consumer, writer, _ = sink()
    first = writer.hold()
    loop._launch_when_due(now=1.0)
    wait_until(lambda: writer.holding, seconds=5, what="a flush in hand")
    loop._flusher.submit(batch_of(FakeMessage(0, 5)), "rows")
    wait_until(lambda: len(writer.written) == 1, seconds=5, what="the later flush")
    loop._collect()
    loop._subscription.commit()
    assert consumer.committed == []
    first.set()
    loop._drain(10)
    assert sorted(consumer.committed) == [(TOPIC, 0, 6), (TOPIC, 1, 10)]


def test_a_commit_that_the_broker_refuses_is_made_again() -> None:
    """Also where no other record comes on that partition."""
    loop, consumer, _, _ = sink()
    consumer.refuses = True
    loop._drain(10)
    assert consumer.committed == []
    consumer.refuses = False
    loop._subscription.commit()
    assert sorted(consumer.committed) == [(TOPIC, 0, 5), (TOPIC, 1, 10)]


def test_a_batch_of_any_size_asks_the_client_for_no_more_than_it_gives() -> None:
    """It raises ValueError for more than a million at once."""
    loop, consumer, _, _ = sink(rows=2_000_000_000)
    loop._turn()
    assert 1 <= consumer.asked <= 1_000_000
    loop._drain(10)


def test_the_end_of_a_partition_speaks_for_no_record_that_is_in_hand() -> None:
    """It is committed with the last record before it, be it that it comes with that record or later."""
    loop, consumer, writer, _ = sink()
    writer.may_write.clear()
    consumer.waiting = [FakeMessage(0, 5), FakeMessage(1, 10), FakeEnd(1, 12)]
    loop._turn()
    consumer.waiting = [FakeEnd(0, 8)]
    loop._turn()
    loop._subscription.commit()
    assert consumer.committed == []
    writer.may_write.set()
    loop._drain(10)
    assert sorted(consumer.committed)[-2:] == [(TOPIC, 0, 8), (TOPIC, 1, 12)]
