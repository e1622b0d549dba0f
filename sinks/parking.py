"""Parking: a record that finds no row waits in PostgreSQL, in the transaction that would have applied it."""

import base64
from collections.abc import Sequence
from typing import Any

import orjson
from psycopg import Connection
from psycopg.rows import TupleRow

from runtime.dead_letters import DeadLetter, Origin
from runtime.sql import statement
from schemas.codec import decode
from sinks.batches import Record, kind_of


class ParkingLot:
    """The table of parked records; every method runs in the caller's transaction."""

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
        connection.execute(statement("sinks", "park_records"), {"rows": rows, "seconds": self._keep_seconds})

    def take(self, connection: Connection[TupleRow], keys: Sequence[str] | None = None) -> list[Record]:
        """Take out at most 1,000 records whose row has come, of `keys` or of any."""
        cursor = connection.execute(statement("sinks", "take_parked"), {"keys": None if keys is None else list(keys)})
        return [_as_record(row) for row in cursor]

    def take_expired(self, connection: Connection[TupleRow]) -> list[DeadLetter]:
        """Take out at most 500 records that have waited too long, as dead letters."""
        cursor = connection.execute(statement("sinks", "take_expired"))
        return [
            DeadLetter(
                origin=_as_origin(row),
                kind="expired",
                reason=f"no row came for it in {self._keep_seconds / 3600:g} hours",
                exception="callstream.ParkedRecordExpired",
            )
            for row in cursor
        ]

    def count(self, connection: Connection[TupleRow]) -> int:
        """Return how many records wait."""
        row = connection.execute(statement("sinks", "count_parked")).fetchone()
        return int(row[0]) if row else 0


def _as_row(record: Record) -> dict[str, Any]:
    origin = record.origin
    key, variant = record.identity
    headers = orjson.dumps([[name, _encoded(value)] for name, value in origin.headers])
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
    }


def _as_record(row: TupleRow) -> Record:
    origin = _as_origin(row)
    kind = kind_of(origin.topic)
    return Record(kind, decode(origin.value, kind.topic.event), lambda: origin)


def _as_origin(row: TupleRow) -> Origin:
    topic, partition, offset, key, value, headers = row
    return Origin(
        topic=topic,
        partition=partition,
        offset=offset,
        key=key,
        value=value,
        headers=tuple((name, base64.b64decode(text)) for name, text in orjson.loads(headers)),
    )


def _encoded(value: bytes) -> str:
    return base64.b64encode(value).decode()
