"""Parking: a record that finds no row waits in PostgreSQL, in the transaction that would have applied it."""

import base64
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import orjson
from psycopg import Connection
from psycopg.rows import TupleRow

from runtime.dead_letters import DeadLetter, Origin
from runtime.sql import statement
from schemas.codec import DecodeError, decode
from sinks.batches import Record
from sinks.mapping import BY_TOPIC

LONGEST_SECONDS = 100 * 365.25 * 86_400  # the database's calendar ends, and Python's ends before it


class Taken(NamedTuple):
    """What was taken out: records to be applied, and what this release cannot read, although one before it could."""

    records: list[Record]
    letters: list[DeadLetter]


class ParkingLot:
    """The table of parked records; every method runs in the caller's transaction.

    A record that was taken and finds no row again is parked with the time that it had: it never waits for longer.
    """

    def __init__(self, *, keep_seconds: float) -> None:
        self._keep_seconds = keep_seconds

    def park(self, connection: Connection[TupleRow], records: Sequence[Record]) -> None:
        """Let records wait for their row; of one key the newest version waits."""
        newest: dict[tuple[str, str, str], Record] = {}
        for record in records:
            known = newest.get((record.kind.name, *record.identity))
            if known is None or known.version < record.version:
                newest[record.kind.name, *record.identity] = record
        rows = orjson.dumps([_as_row(newest[key]) for key in sorted(newest)]).decode()
        seconds = min(self._keep_seconds, LONGEST_SECONDS)
        connection.execute(statement("sinks", "park_records"), {"rows": rows, "seconds": seconds})

    def take(self, connection: Connection[TupleRow], keys: Sequence[str] | None = None) -> Taken:
        """Take out at most 1,000 records whose row has come, of `keys` or of any."""
        cursor = connection.execute(statement("sinks", "take_parked"), {"keys": None if keys is None else list(keys)})
        return _taken(cursor)

    def take_expired(self, connection: Connection[TupleRow]) -> Taken:
        """Take out at most 500 records that have waited too long."""
        return _taken(connection.execute(statement("sinks", "take_expired")))

    def expired(self, record: Record) -> DeadLetter:
        """Return the dead letter of a record for which no row came in time."""
        return DeadLetter(
            origin=record.origin,
            kind="expired",
            reason=f"no row came for it in {self._keep_seconds / 3600:g} hours",
            exception="callstream.ParkedRecordExpired",
        )

    def count(self, connection: Connection[TupleRow]) -> int:
        """Return how many records wait."""
        row = connection.execute(statement("sinks", "count_parked")).fetchone()
        return int(row[0]) if row else 0


def _as_row(record: Record) -> dict[str, Any]:
    origin = record.origin
    key, variant = record.identity
    headers = orjson.dumps([[name, None if value is None else _encoded(value)] for name, value in origin.headers])
    return {
        "kind": record.kind.name,
        "key": key,
        "variant": variant,
        "version": record.version,
        "topic": origin.topic,
        "partition": origin.partition,
        "offset": origin.offset,
        "record_key": None if origin.key is None else _encoded(origin.key),
        "record_value": _encoded(origin.value or b""),
        "record_headers": _encoded(headers),
        "expires_at": record.expires_at,
    }


def _taken(rows: Iterable[TupleRow]) -> Taken:
    taken = Taken([], [])
    for *place, expires_at in rows:
        origin = _origin(*place)
        kind = BY_TOPIC[origin.topic]
        try:
            event = decode(origin.value, kind.topic.event)
        except DecodeError as error:
            taken.letters.append(DeadLetter(origin=origin, kind="undecodable", reason=str(error)))
        else:
            taken.records.append(Record.of(kind, event, partial(_same, origin), expires_at))
    return taken


def _origin(topic: str, partition: int, offset: int, key: bytes | None, value: bytes, headers: bytes) -> Origin:
    pairs = ((name, None if text is None else base64.b64decode(text)) for name, text in orjson.loads(headers))
    return Origin(topic=topic, partition=partition, offset=offset, key=key, value=value, headers=tuple(pairs))


def _same(origin: Origin) -> Origin:
    return origin


def _encoded(value: bytes) -> str:
    return base64.b64encode(value).decode()
