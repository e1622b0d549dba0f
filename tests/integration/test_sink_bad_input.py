"""Bad input on every topic that the sink reads: good records land, bad ones are dead letters byte for byte."""

from collections import Counter
from pathlib import Path

import msgspec
from confluent_kafka import Message, TopicPartition
from confluent_kafka.admin import AdminClient

from devtools.processes import wait_until
from runtime.kafka import Headers, Outgoing, Publisher, as_bytes, headers_of, make_observer
from runtime.settings import KafkaSettings
from schemas.codec import encode
from schemas.topics import MAX_RECORD_BYTES
from sinks.loop import GROUP
from sinks.mapping import BY_TOPIC
from tests.fixtures.bad_records import ODD_HEADERS, ODD_KEYS, Malformed, malformed, odd_but_good
from tests.fixtures.fold import fold, take_snapshot
from tests.fixtures.raw_producer import produce_raw
from tests.fixtures.sink_events import assigned, followed_up, lead, recorded, status
from tests.fixtures.sink_load import TOPIC_OF
from tests.fixtures.sink_process import SinkProcess
from tests.fixtures.topics import committed, read_messages, reason_of

ADDED = 7
Content = tuple[bytes | None, bytes | None, Headers]


def good_events() -> list[msgspec.Struct]:
    """Ten lives, in which every event of the last five leads comes in an odd form."""
    return [
        event
        for number in range(10)
        for event in (
            lead(number), assigned(number), status(number, 1, is_terminal=True), recorded(number, 1),
            followed_up(number, 1),
        )
    ]  # fmt: skip


def good_records() -> list[Outgoing]:
    """The events as records, half of them odd in value, key and headers."""
    records = []
    for place, event in enumerate(good_events()):
        odd = list(odd_but_good(event).values())
        is_odd = place >= 25
        records.append(
            Outgoing(
                TOPIC_OF[type(event)].name,
                ODD_KEYS[place % len(ODD_KEYS)] if is_odd else b"key",
                odd[place % len(odd)] if is_odd else encode(event),
                ODD_HEADERS[place % (len(ODD_HEADERS) - 1)] if is_odd else (),
            )
        )
    return records


def content(message: Message) -> Content:
    """What of a dead letter is the original's."""
    return as_bytes(message.key()), as_bytes(message.value()), headers_of(message)[:-ADDED]


def test_the_corpus_is_dead_lettered_byte_for_byte_and_costs_no_good_record(
    topics: str, database: str, publisher: Publisher, kafka_admin: AdminClient, tmp_path: Path
) -> None:
    """Every malformed record of every topic, between good ones; each reason names the field; the sink lives on."""
    good = good_records()
    bad: dict[str, list[Malformed]] = {TOPIC_OF[type(event)].name: malformed(event) for event in good_events()[-5:]}
    for topic, records in bad.items():
        own = [record for record in good if record.topic == topic]
        step = len(records) // len(own)
        for place, record in enumerate(own):
            part = records[place * step : (place + 1) * step] if place < len(own) - 1 else records[place * step :]
            publisher.publish([record, *(Outgoing(topic, one.key, one.value, one.headers) for one in part)])
    with SinkProcess(topics, database, tmp_path) as sink:
        for topic, records in bad.items():
            total = len(records) + 10
            wait_until(
                lambda: committed(kafka_admin, GROUP, topic) == total,  # noqa: B023
                seconds=60, what=f"{total} of {topic} committed", interval=0.2,
            )  # fmt: skip
        wait_until(lambda: not take_snapshot(database).parked, seconds=15, what="nothing parked", interval=0.5)
        assert sink.is_running()
    assert take_snapshot(database).rows == fold(good_events())
    for topic, records in bad.items():
        letters = read_messages(topics, BY_TOPIC[topic].topic.dead_letters)
        reasons = {content(letter): reason_of(letter) for letter in letters}
        assert Counter(map(content, letters)) == Counter((one.key, one.value, one.headers) for one in records)
        unnamed = [
            (one.name, reason)
            for one in records
            if one.named not in (reason := reasons[one.key, one.value, one.headers]) or not reason
        ]
        assert unnamed == []


def test_a_record_that_compression_made_small_does_not_block_its_partition(
    topics: str, database: str, publisher: Publisher, kafka_admin: AdminClient, tmp_path: Path
) -> None:
    """Larger than any dead letter may be: its letter says where it lies and why it died; the others land."""
    event = lead(1)
    [topic] = [topic for topic in BY_TOPIC if TOPIC_OF[type(event)].name == topic]
    generous = Publisher(KafkaSettings(bootstrap_servers=topics), **{"message.max.bytes": 32 * MAX_RECORD_BYTES})
    try:
        generous.publish([Outgoing(topic, b"k", b"[" + b" " * (8 * MAX_RECORD_BYTES) + b"]")])
    finally:
        generous.close()
    publisher.publish([Outgoing(topic, b"k", b"{}"), Outgoing(topic, b"k", encode(event))])
    with SinkProcess(topics, database, tmp_path):
        wait_until(lambda: committed(kafka_admin, GROUP, topic) == 3, seconds=30, what="three committed")
    assert take_snapshot(database).rows == fold([event])
    letters = read_messages(topics, topic + ".dlq")
    stages = {dict(headers_of(letter))["__connect.errors.stage"]: letter for letter in letters}
    assert stages.keys() == {b"too_large", b"undecodable"}
    assert stages[b"too_large"].value() is None
    [offset, *_] = [message.offset() for message in read_messages(topics, topic) if message.key() == b"k"]
    assert dict(headers_of(stages[b"too_large"]))["__connect.errors.offset"] == b"%d" % (offset or 0)
    assert "array" in reason_of(stages[b"too_large"])


def test_a_record_that_cannot_be_decompressed_does_not_block_its_partition(
    topics: str, database: str, publisher: Publisher, kafka_admin: AdminClient, tmp_path: Path
) -> None:
    """Some kilobytes that would be more than the client takes: a letter says where they lie; the others land."""
    before, after = lead(1), lead(2)
    topic = TOPIC_OF[type(before)].name
    limits: dict[str, str | float] = {"compression.type": "zstd", "message.max.bytes": 256 * 2**20}
    bomb = Publisher(KafkaSettings(bootstrap_servers=topics), **limits)
    publisher.publish([Outgoing(topic, b"k", encode(before))])
    try:
        bomb.publish([Outgoing(topic, b"k", b" " * (128 * 2**20))])
    finally:
        bomb.close()
    publisher.publish([Outgoing(topic, b"k", encode(after))])
    with SinkProcess(topics, database, tmp_path):
        wait_until(lambda: committed(kafka_admin, GROUP, topic) == 3, seconds=30, what="three committed")
    assert take_snapshot(database).rows == fold([before, after])
    [letter] = read_messages(topics, topic + ".dlq")
    headers = dict(headers_of(letter))
    assert b"Decompression" in (headers["callstream.unreadable"] or b"")
    place = TopicPartition(topic, int(headers["__connect.errors.partition"] or 0))
    asking = make_observer(KafkaSettings(bootstrap_servers=topics), "test")
    _, end = asking.get_watermark_offsets(place, timeout=10)
    asking.close()
    assert headers["__connect.errors.offset"] == b"%d" % (end - 2)


def test_a_header_whose_name_is_no_text_costs_its_record_the_headers_only(
    topics: str, database: str, publisher: Publisher, kafka_admin: AdminClient, tmp_path: Path
) -> None:
    """Kafka takes any bytes for a name, Python's client does not: the event lands, the letter keeps its value.

    A record may be asked for its headers again, where its flush is tried again.
    """
    event, garbage = lead(1), b"not json"
    topic = TOPIC_OF[type(event)].name
    for value in (encode(event), garbage):
        produce_raw(topics, topic, value, [(b"caf\xe9", b"latin-1"), (b"fine", b"1")])
    publisher.publish([Outgoing(topic, b"k", encode(lead(2)))])
    with SinkProcess(topics, database, tmp_path) as sink:
        wait_until(lambda: committed(kafka_admin, GROUP, topic) == 3, seconds=30, what="three committed")
        assert sink.logged("kafka.headers_unreadable")
    assert take_snapshot(database).rows == fold([event, lead(2)])
    [letter] = read_messages(topics, topic + ".dlq")
    assert (letter.value(), len(headers_of(letter))) == (garbage, ADDED)
    strange = [message for message in read_messages(topics, topic) if message.key() is None]
    assert [headers_of(message) for message in strange * 2] == [()] * 4
