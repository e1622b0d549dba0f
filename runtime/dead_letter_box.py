"""Reading dead letters back: what lies in a `.dlq` topic, and which of it may be sent again.

A letter knows its origin by its headers, so the same original record is sent once, however often it was written here.
That letters were sent is itself written into the topic, as a receipt that names them: it is kept for as long as they
are, while a group's offsets would be forgotten after a week without a replay.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

import orjson
from confluent_kafka import Message, TopicPartition

from runtime.dead_letters import TOO_LARGE, UNMAPPED, split_headers
from runtime.errors import RetryableError
from runtime.kafka import Outgoing, Publisher, as_bytes, headers_of, is_data, is_end, make_observer
from runtime.settings import KafkaSettings
from schemas.topics import DEAD_LETTER_SUFFIX, START_REQUESTED

GROUP = "callstream-dlq"
RECEIPT = "callstream.replayed"
READ_ALL: Final[dict[str, str | bool]] = {"enable.partition.eof": True, "auto.offset.reset": "earliest"}
TIMEOUT_SECONDS = 10.0
METADATA_SECONDS = 5.0
MAX_REPLAYS = 3
CHUNK = 100
CHUNK_BYTES = 4 * 1024 * 1024
START_REQUEST_AGE = timedelta(days=1)

SENT_ALREADY = "the same record was sent already"
SENT_OFTEN = f"it was sent {MAX_REPLAYS} times and died again; --force sends it"
OLD_START = "a start request older than a day; --force sends it"
WITHOUT_CONTENT = "it was too large for a dead letter; its content is where it came from"
NO_RECORD = "a job that fits no page is no record of the topic; query its task again"
BEYOND_LIMIT = "beyond --max"

Place = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundLetter:
    """What is known of a dead letter without its content; `place` is its own partition and offset."""

    topic: str
    place: Place
    died_at: datetime
    origin_id: tuple[str, str, str]
    digest: bytes
    size: int
    stage: str = "unknown"
    group: str = ""
    reason: str = ""
    is_replayed: bool = False

    @classmethod
    def of(cls, message: Message) -> "FoundLetter":
        """Return the letter in a record of a `.dlq` topic; what names no place as its origin is its own."""
        topic, partition, offset = message.topic() or "", message.partition() or 0, message.offset() or 0
        key, value = as_bytes(message.key()) or b"", as_bytes(message.value()) or b""
        _, block = split_headers(headers_of(message))
        named = block.get("topic", ""), block.get("partition", ""), block.get("offset", "")
        return cls(
            topic=topic,
            place=(partition, offset),
            died_at=datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC),
            origin_id=named if all(named) and not named[2].startswith("-") else (topic, str(partition), str(offset)),
            digest=hashlib.sha256(len(key).to_bytes(8, "big") + key + value).digest(),
            size=len(value),
            stage=block.get("stage") or "unknown",
            group=block.get("consumer.group", ""),
            reason=block.get("exception.message", ""),
        )

    @property
    def source(self) -> str:
        """The topic that it came from."""
        return self.topic.removesuffix(DEAD_LETTER_SUFFIX)


@dataclass(frozen=True, kw_only=True)
class ReplayPlan:
    """What will be sent, and how many letters are left and why."""

    letters: tuple[FoundLetter, ...]
    skipped: Counter[str]


def plan_replay(
    letters: Sequence[FoundLetter], *, now: datetime, limit: int | None = None, force: bool = False
) -> ReplayPlan:
    """Choose at most `limit` letters; left are repeats, and without `force` frequent deaths and old start requests.

    How old a request is says its first death: what is sent again and dies again grows no younger.
    """
    sent = {letter.origin_id: letter.digest for letter in letters if letter.is_replayed}
    replays = Counter(sent.values())
    first_deaths: dict[bytes, datetime] = {}
    for letter in letters:
        first_deaths[letter.digest] = min(letter.died_at, first_deaths.get(letter.digest, letter.died_at))
    taken = set(sent)
    chosen: list[FoundLetter] = []
    skipped: Counter[str] = Counter()
    for letter in letters:
        if letter.is_replayed:
            continue
        is_old_start = letter.source == START_REQUESTED.name and now - first_deaths[letter.digest] > START_REQUEST_AGE
        if letter.origin_id in taken:
            skipped[SENT_ALREADY] += 1
        elif letter.stage == TOO_LARGE:
            skipped[WITHOUT_CONTENT] += 1
        elif letter.stage == UNMAPPED:
            skipped[NO_RECORD] += 1
        elif not force and replays[letter.digest] >= MAX_REPLAYS:
            skipped[SENT_OFTEN] += 1
        elif not force and is_old_start:
            skipped[OLD_START] += 1
        elif limit is not None and len(chosen) >= limit:
            skipped[BEYOND_LIMIT] += 1
        else:
            taken.add(letter.origin_id)
            chosen.append(letter)
    return ReplayPlan(letters=tuple(chosen), skipped=skipped)


def original_of(message: Message) -> Outgoing:
    """Return the original record of a dead letter: key, value and headers byte for byte."""
    headers, _ = split_headers(headers_of(message))
    topic = (message.topic() or "").removesuffix(DEAD_LETTER_SUFFIX)
    return Outgoing(topic, as_bytes(message.key()), as_bytes(message.value()), headers)


class DeadLetterBox:
    """The dead letters of one topic, as they lie there when they are read; use as a context.

    Raises RetryableError where the broker is away.
    """

    def __init__(self, settings: KafkaSettings, topic: str) -> None:
        self.topic = topic if topic.endswith(DEAD_LETTER_SUFFIX) else topic + DEAD_LETTER_SUFFIX
        self._consumer = make_observer(settings, GROUP, **READ_ALL)

    def __enter__(self) -> "DeadLetterBox":
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def exists(self) -> bool:
        """Return whether the topic is there."""
        return self.topic in self._consumer.list_topics(timeout=METADATA_SECONDS).topics

    def read(self) -> list[FoundLetter]:
        """Return every letter, partition by partition in order; blocks until all are read."""
        partitions = self._consumer.list_topics(self.topic, timeout=TIMEOUT_SECONDS).topics[self.topic].partitions
        letters: list[FoundLetter] = []
        replayed: set[Place] = set()
        for message in self._scan(dict.fromkeys(partitions, 0)):
            match headers_of(message):
                case ((name, bytes(places)),) if name == RECEIPT:  # a letter has our block, and so more headers
                    replayed.update(map(tuple, orjson.loads(places)))
                case _:
                    letters.append(FoundLetter.of(message))
        letters.sort(key=lambda letter: letter.place)
        return [replace(letter, is_replayed=letter.place in replayed) for letter in letters]

    def replay(self, letters: Sequence[FoundLetter], publisher: Publisher) -> Iterator[int]:
        """Send the originals of `letters`, and a receipt after each hundred; yields how many are sent.

        Those of one partition are sent in their order. If it ends in between, what was sent without a receipt is sent
        again by the next replay.
        """
        sent = 0
        for chunk in _chunks(self._fetch(letters)):
            publisher.publish(map(original_of, chunk))
            receipt = orjson.dumps([(message.partition(), message.offset()) for message in chunk])
            publisher.publish([Outgoing(self.topic, None, None, [(RECEIPT, receipt)])])
            sent += len(chunk)
            yield sent

    def _fetch(self, letters: Sequence[FoundLetter]) -> Iterator[Message]:
        """Yield the records of letters."""
        wanted = {letter.place for letter in letters}
        begins: dict[int, int] = {}
        for partition, offset in wanted:
            begins[partition] = min(offset, begins.get(partition, offset))
        for message in self._scan(begins):
            place = message.partition() or 0, message.offset() or 0
            if place in wanted:
                wanted.remove(place)
                yield message
            if not wanted:
                return

    def _scan(self, begins: Mapping[int, int]) -> Iterator[Message]:
        """Yield the records that are there now, from an offset of each partition; each partition's in order.

        All are read at once: one after the other, each would wait for the end of the one before.
        """
        ends: dict[int, int] = {}
        assigned: list[TopicPartition] = []
        for partition, begin in begins.items():
            place = TopicPartition(self.topic, partition)
            low, end = self._consumer.get_watermark_offsets(place, timeout=TIMEOUT_SECONDS)
            if max(low, begin) < end:
                ends[partition] = end
                assigned.append(TopicPartition(self.topic, partition, max(low, begin)))
        self._consumer.assign(assigned)
        try:
            while ends:
                message = self._consumer.poll(TIMEOUT_SECONDS)
                if message is None:
                    raise RetryableError(f"the broker does not go on with {self.topic}")
                partition, offset = message.partition() or 0, message.offset() or 0
                if is_end(message):
                    ends.pop(partition, None)
                elif is_data(message) and offset < ends.get(partition, 0):
                    if offset == ends[partition] - 1:
                        del ends[partition]
                    yield message
        finally:
            self._consumer.unassign()


def _chunks(messages: Iterator[Message]) -> Iterator[list[Message]]:
    """Yield messages in groups of CHUNK, or fewer where they are large."""
    chunk: list[Message] = []
    size = 0
    for message in messages:
        chunk.append(message)
        size += len(message.value() or b"")
        if len(chunk) >= CHUNK or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
