"""Dead letters on a real Kafka: found, sent again once, and remembered."""

from datetime import UTC, datetime

from runtime.dead_letter_box import DeadLetterBox, plan_replay
from runtime.dead_letters import DeadLetter, DeadLetterOffice, Origin
from runtime.kafka import Outgoing, Publisher, as_bytes, headers_of
from runtime.settings import KafkaSettings
from schemas.topics import LEAD_ADDED
from tests.fixtures.topics import read_messages

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)


def dead(value: bytes, offset: int) -> DeadLetter:
    """A dead letter of the lead topic."""
    origin = Origin(
        topic=LEAD_ADDED.name, partition=1, offset=offset, key=b"\xfe", value=value, headers=(("a", b"\x00"),)
    )
    return DeadLetter(origin=origin, kind="undecodable", reason="why")


def test_letters_are_replayed_once_byte_for_byte(topics: str, publisher: Publisher) -> None:
    """A replay goes on where the one before stopped; what was left stays to be sent."""
    settings = KafkaSettings(bootstrap_servers=topics)
    DeadLetterOffice(publisher, "test").send([dead(b"one", 0), dead(b"two", 1), dead(b"one", 0)])
    with DeadLetterBox(settings, LEAD_ADDED.name) as box:
        assert list(box.replay(plan_replay(box.read(), now=NOW, limit=1).letters, publisher)) == [1]
    with DeadLetterBox(settings, LEAD_ADDED.dead_letters) as box:
        assert list(box.replay(plan_replay(box.read(), now=NOW).letters, publisher)) == [1]
        assert plan_replay(box.read(), now=NOW).letters == ()
    sent = read_messages(topics, LEAD_ADDED.name)
    assert sorted(as_bytes(message.value()) or b"" for message in sent) == [b"one", b"two"]
    assert {(as_bytes(message.key()), headers_of(message)) for message in sent} == {(b"\xfe", (("a", b"\x00"),))}


def test_keys_lie_where_java_and_faust_put_them(topics: str, publisher: Publisher) -> None:
    """murmur2, pinned: these partitions of 4 are what Java's client computes for these keys."""
    expected = {b"job-%d" % n: _murmur2(b"job-%d" % n) % 4 for n in range(40)}
    publisher.publish(Outgoing(LEAD_ADDED.name, key, b"{}") for key in expected)
    found = {as_bytes(message.key()): message.partition() for message in read_messages(topics, LEAD_ADDED.name)}
    assert found == expected


def _murmur2(data: bytes) -> int:
    """The hash of Kafka's Java client, positive as its partitioner makes it."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = (0x9747B28C ^ len(data)) & mask
    whole = len(data) // 4 * 4
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little") * m & mask
        k = (k ^ (k >> 24)) * m & mask
        h = (h * m & mask) ^ k
    rest = data[whole:]
    if rest:
        h = ((h ^ int.from_bytes(rest, "little")) * m) & mask
    h = (h ^ (h >> 13)) * m & mask
    return (h ^ (h >> 15)) & 0x7FFFFFFF
