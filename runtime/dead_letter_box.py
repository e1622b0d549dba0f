"""Reading dead letters back: what lies in a `.dlq` topic, and which of it may be sent again.

A letter knows its origin by its headers, so the same original record is sent once, however often it was written here.
What was sent is known by the offsets of the replay's own group, so a replay goes on where it stopped; letters before
that offset that were left are named in the offset's metadata.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import orjson
from confluent_kafka import TopicPartition

from runtime.dead_letters import PREFIX, Origin
from runtime.errors import CallstreamError
from runtime.kafka import Outgoing, make_observer
from runtime.settings import KafkaSettings
from schemas.topics import DEAD_LETTER_SUFFIX, START_REQUESTED

GROUP = "callstream-dlq-replay"
TIMEOUT_SECONDS = 10.0
MAX_DEATHS = 3
CHUNK = 500
MAX_METADATA_BYTES = 4_000
START_REQUEST_AGE = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class FoundLetter:
    """A dead letter as it lies in its topic: its own place, the original's bytes, and why it is here."""

    place: Origin
    died_at: datetime
    is_replayed: bool

    @property
    def source(self) -> str:
        """The topic that it came from."""
        return self.place.topic.removesuffix(DEAD_LETTER_SUFFIX)

    @property
    def origin_id(self) -> tuple[str, str, str]:
        """Topic, partition and offset of the original; the letter's own where the headers are missing."""
        named = tuple(self.error(name) for name in ("topic", "partition", "offset"))
        if all(named):
            return named[0], named[1], named[2]
        return self.place.topic, str(self.place.partition), str(self.place.offset)

    @property
    def digest(self) -> bytes:
        """What tells this record's bytes from others'."""
        return hashlib.sha256((self.place.key or b"") + b"\0" + (self.place.value or b"")).digest()

    def error(self, name: str) -> str:
        """Return the header `__connect.errors.<name>`; empty where there is none."""
        values = [value for header, value in self.place.headers if header == PREFIX + name]
        return values[-1].decode("utf-8", "replace") if values else ""

    def original(self) -> Outgoing:
        """Return the original record: key, value and headers byte for byte."""
        headers = [(name, value) for name, value in self.place.headers if not name.startswith(PREFIX)]
        return Outgoing(self.source, self.place.key, self.place.value, headers)


@dataclass(frozen=True, kw_only=True)
class ReplayPlan:
    """What will be sent, and how many letters are left and why."""

    letters: tuple[FoundLetter, ...]
    left: tuple[FoundLetter, ...]
    skipped: Counter[str]


def plan_replay(
    letters: Sequence[FoundLetter], *, now: datetime, limit: int | None = None, force: bool = False
) -> ReplayPlan:
    """Choose at most `limit` letters; left are repeats, and without `force` frequent deaths and old start requests."""
    deaths = Counter(letter.digest for letter in {letter.origin_id: letter for letter in letters}.values())
    seen = {letter.origin_id for letter in letters if letter.is_replayed}
    chosen: list[FoundLetter] = []
    skipped: Counter[str] = Counter()
    for letter in letters:
        if letter.is_replayed:
            continue
        if letter.origin_id in seen:
            skipped["the same record was sent already"] += 1
        elif not force and deaths[letter.digest] >= MAX_DEATHS:
            skipped[f"it has died {MAX_DEATHS} times or more; --force sends it"] += 1
        elif not force and letter.source == START_REQUESTED.name and now - letter.died_at > START_REQUEST_AGE:
            skipped["a start request older than a day; --force sends it"] += 1
        elif limit is not None and len(chosen) >= limit:
            break
        else:
            seen.add(letter.origin_id)
            chosen.append(letter)
    left = [letter for letter in letters if not letter.is_replayed and letter.origin_id not in seen]
    return ReplayPlan(letters=tuple(chosen), left=tuple(left), skipped=skipped)


class DeadLetterBox:
    """The dead letters of one topic, as they lie there when it is opened; use as a context."""

    def __init__(self, settings: KafkaSettings, topic: str) -> None:
        self.topic = topic if topic.endswith(DEAD_LETTER_SUFFIX) else topic + DEAD_LETTER_SUFFIX
        self._consumer = make_observer(settings, GROUP)

    def __enter__(self) -> "DeadLetterBox":
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def exists(self) -> bool:
        """Return whether the topic is there."""
        return self.topic in self._consumer.list_topics(timeout=TIMEOUT_SECONDS).topics

    def read(self) -> list[FoundLetter]:
        """Return every letter, partition by partition in order; blocks until all are read."""
        partitions = self._consumer.list_topics(self.topic, timeout=TIMEOUT_SECONDS).topics[self.topic].partitions
        asked = [TopicPartition(self.topic, partition) for partition in sorted(partitions)]
        found: list[FoundLetter] = []
        for done in self._consumer.committed(asked, timeout=TIMEOUT_SECONDS):
            left = frozenset(orjson.loads(done.metadata)) if done.metadata else frozenset()
            found += self._read_partition(done.partition, done.offset, left)
        return found

    def mark_replayed(self, plan: ReplayPlan) -> None:
        """Remember what was sent; raises CallstreamError where more letters were left than can be remembered."""
        ends: dict[int, int] = {}
        for letter in plan.letters:
            ends[letter.place.partition] = max(ends.get(letter.place.partition, 0), letter.place.offset + 1)
        for partition, end in ends.items():
            places = [letter.place for letter in plan.left]
            left = [place.offset for place in places if place.partition == partition and place.offset < end]
            metadata = orjson.dumps(left).decode()
            if len(metadata) > MAX_METADATA_BYTES:
                raise CallstreamError(f"{len(left)} letters were left; send them with --force or replay fewer at once")
            offset = TopicPartition(self.topic, partition, end, metadata)
            self._consumer.commit(offsets=[offset], asynchronous=False)

    def _read_partition(self, partition: int, committed: int, left: frozenset[int]) -> list[FoundLetter]:
        place = TopicPartition(self.topic, partition)
        low, end = self._consumer.get_watermark_offsets(place, timeout=TIMEOUT_SECONDS)
        found: list[FoundLetter] = []
        if low == end:
            return found
        self._consumer.assign([TopicPartition(self.topic, partition, low)])
        position = low
        while position < end:
            for message in self._consumer.consume(min(CHUNK, end - position), 1.0):
                if message.error() is None:
                    origin = Origin.of(message)
                    position = origin.offset + 1
                    died_at = datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC)
                    is_replayed = origin.offset < committed and origin.offset not in left
                    found.append(FoundLetter(place=origin, died_at=died_at, is_replayed=is_replayed))
        self._consumer.unassign()
        return found
