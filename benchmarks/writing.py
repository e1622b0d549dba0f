"""The sink's writer without Kafka, for questions about the database alone."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import msgspec

from runtime.dead_letters import DeadLetter, DeadLetterOffice, Origin
from runtime.postgres import Database
from schemas.codec import encode
from sinks.batches import Batch, Place, Record
from sinks.mapping import Kind
from sinks.writer import Writer


class Drawer(DeadLetterOffice):
    """Keeps dead letters instead of sending them."""

    def __init__(self) -> None:
        self.letters: list[DeadLetter] = []

    def send(self, letters: Iterable[DeadLetter]) -> None:
        """Keep them."""
        self.letters += letters


@contextmanager
def opened(dsn: str) -> Iterator[tuple[Database, Writer, Drawer]]:
    """Give the sink's connections, a writer that has learned that nothing is parked, and where its letters go."""
    database, drawer = Database(dsn, name="sink"), Drawer()
    database.open()
    try:
        writer = Writer(database, drawer, park_seconds=3600)
        writer.sweep()
        yield database, writer, drawer
    finally:
        database.close()


def batch_of(kind: Kind, events: Sequence[msgspec.Struct]) -> Batch:
    """Return a batch as the sink's loop fills it."""
    batch = Batch()
    for record in records_of(kind, events):
        batch.add(record, Place(kind.topic.name, 0, 0, 0), now=0.0)
    return batch


def records_of(kind: Kind, events: Sequence[msgspec.Struct]) -> list[Record]:
    """Return decoded records."""
    return [Record.of(kind, event, partial(_origin, kind, event)) for event in events]


def _origin(kind: Kind, event: msgspec.Struct) -> Origin:
    return Origin(topic=kind.topic.name, partition=0, offset=0, key=b"", value=encode(event))
