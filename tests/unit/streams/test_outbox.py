"""What an agent sends, and what becomes of records that nobody will take."""

import asyncio
from collections.abc import Sequence

from runtime.dead_letters import DeadLetter, Origin
from runtime.errors import RejectedError
from runtime.kafka import Outgoing
from streams.emitter import Refusal, RefusedError
from streams.outbox import Outbox


class LimitedSender:
    """Takes records whose key and value together are not longer than the limit of their topic."""

    def __init__(self, *, events: int, letters: int) -> None:
        self.limits = {False: events, True: letters}
        self.taken: list[Outgoing] = []

    async def emit(self, records: Sequence[Outgoing]) -> None:
        """Take what fits."""
        refused = [
            record
            for record in records
            if len(record.key or b"") + len(record.value or b"") > self.limits[record.topic.endswith(".dlq")]
        ]
        self.taken += [record for record in records if record not in refused]
        if refused:
            raise RefusedError([Refusal(record, RejectedError("too large", code="SIZE")) for record in refused])


def sent(sender: LimitedSender, *values: bytes, letters: Sequence[DeadLetter] = ()) -> list[tuple[str, bytes | None]]:
    """What arrives when values are sent as events."""
    outbox = Outbox(sender, "group")
    asyncio.run(outbox.send([Outgoing("topic", b"key", value) for value in values], letters))
    return [(record.topic, record.value) for record in sender.taken]


def test_events_and_dead_letters_go_together() -> None:
    """One batch: an undecodable page is kept beside the events of its neighbours."""
    origin = Origin(topic="source", partition=1, offset=2, key=None, value=b"rubbish")
    letter = DeadLetter(origin=origin, kind="undecodable", reason="not JSON")
    assert sent(LimitedSender(events=12, letters=12), b"a", letters=[letter]) == [
        ("topic", b"a"),
        ("source.dlq", b"rubbish"),
    ]


def test_a_refused_event_becomes_a_dead_letter_of_its_topic() -> None:
    """It would be refused again for ever; the others are in their topic already."""
    assert sent(LimitedSender(events=5, letters=12), b"ok", b"long") == [("topic", b"ok"), ("topic.dlq", b"long")]


def test_what_no_topic_takes_leaves_at_least_its_key_and_reason() -> None:
    """Too large even for a dead letter: the letter goes without its value, and says why."""
    sender = LimitedSender(events=5, letters=7)
    assert sent(sender, b"far too long") == [("topic.dlq", None)]
    headers = dict(sender.taken[0].headers)
    assert headers["__connect.errors.exception.message"] == b"SIZE: too large"
    assert headers["__connect.errors.consumer.group"] == b"group"
    assert headers["__connect.errors.stage"] == b"too_large"
    assert sender.taken[0].key == b"key"


def test_a_record_whose_key_alone_is_too_large_stops_nobody() -> None:
    """Small when it came, because it was compressed: what is left says where it lies, and its neighbours are whole."""
    sender = LimitedSender(events=5, letters=2_000)
    huge = Origin(topic="source", partition=1, offset=2, key=b"k" * 3_000, value=b"", headers=[("h", b"x")])
    small = Origin(topic="source", partition=1, offset=3, key=b"k", value=b"{")
    letters = [DeadLetter(origin=origin, kind="undecodable", reason="not JSON") for origin in (huge, small)]
    asyncio.run(Outbox(sender, "group").send([], letters))
    assert [(record.key, record.value) for record in sender.taken[-2:]] == [(None, None), (b"k", b"{")]
    assert dict(sender.taken[-2].headers)["__connect.errors.offset"] == b"2"
