"""The writer: one transaction per flush, one statement per kind.

A statement takes one JSON parameter and touches only rows that its records are newer for. Where it touched fewer than
it was given, one question tells which records found no row (parked), which are outdated (nothing to do) and which
contradict the row (dead letters). Where the database refuses the data, the flush is done again with every statement
in a savepoint and halved until the bad rows stand alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import psycopg
from psycopg import Connection
from psycopg.rows import TupleRow

from runtime import metrics
from runtime.dead_letters import DeadLetter, DeadLetterOffice
from runtime.postgres import Database, describe, is_about_data
from runtime.sql import statement
from sinks.batches import Batch, Record
from sinks.breaker import Breaker
from sinks.mapping import JOB_IDS, KINDS, LEADS, STATUSES, Kind
from sinks.parking import ParkingLot

CONFLICTS = {
    LEADS.name: "the lead has a row under another reference, or the reference belongs to another lead",
    JOB_IDS.name: "the lead already has another job id",
}


@dataclass
class Tally:
    """What one transaction made of its records."""

    applied: dict[str, int] = field(default_factory=dict)
    stale: dict[str, int] = field(default_factory=dict)
    missing: list[Record] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    rows: int = 0
    refused: int = 0


class Writer:
    """Writes batches; used by one thread at a time."""

    def __init__(self, database: Database, office: DeadLetterOffice, *, park_seconds: float) -> None:
        self._database = database
        self._office = office
        self._lot = ParkingLot(keep_seconds=park_seconds)
        self._breaker = Breaker()
        self._parked = 1  # until a sweep has counted, some may wait

    def write(self, batch: Batch) -> Tally:
        """Write all of `batch` and send its dead letters; what it says is done when it returns.

        Raises RetryableError where database or broker are away, FatalError where the breaker trips: nothing is written.
        """
        try:
            return self._write(batch, isolate=False)
        except psycopg.Error as error:
            if not is_about_data(error):
                raise
            return self._write(batch, isolate=True)

    def sweep(self) -> None:
        """Apply parked records whose row has come and dead-letter those whose time is over; raises as `write` does."""
        with self._database.transaction() as connection:
            tally = Tally()
            self._parked = self._lot.count(connection)
            if self._parked:
                self._apply_parked(connection, tally, keys=None)
                tally.letters += self._lot.take_expired(connection)
                self._settle(connection, tally)
        metrics.PARKED.set(self._parked)
        _count(tally)

    def _write(self, batch: Batch, *, isolate: bool) -> Tally:
        tally = Tally(letters=list(batch.letters))
        if not any(batch.records.values()):
            self._office.send(tally.letters)
            return tally
        with self._database.transaction() as connection:
            for kind in KINDS:
                records = batch.of(kind)
                if records:
                    self._apply(connection, kind, records, tally, isolate=isolate)
            if self._parked:
                keys = [key for kind in (LEADS, JOB_IDS, STATUSES) for key in _row_keys(kind, batch.of(kind))]
                self._apply_parked(connection, tally, keys=keys)
            self._breaker.check(rows=tally.rows, refused=tally.refused)
            self._settle(connection, tally)
        self._breaker.record(rows=tally.rows, refused=tally.refused)
        _count(tally)
        return tally

    def _apply_parked(self, connection: Connection[TupleRow], tally: Tally, keys: Sequence[str] | None) -> None:
        """Apply what waited for the rows of `keys`; a job id that is set so brings the job's own records."""
        while keys is None or keys:
            taken = self._lot.take(connection, keys)
            if not taken:
                return
            for kind in KINDS:
                records = [record for record in taken if record.kind is kind]
                if records:
                    self._apply(connection, kind, records, tally, isolate=True)
            if keys is not None:
                keys = _row_keys(JOB_IDS, [record for record in taken if record.kind is JOB_IDS])

    def _settle(self, connection: Connection[TupleRow], tally: Tally) -> None:
        if tally.missing:
            self._lot.park(connection, tally.missing)
            self._parked += len(tally.missing)
        self._office.send(tally.letters)

    def _apply(
        self, connection: Connection[TupleRow], kind: Kind, records: Sequence[Record], tally: Tally, *, isolate: bool
    ) -> None:
        if not isolate:
            self._execute(connection, kind, records, tally)
            return
        try:
            with connection.transaction():
                self._execute(connection, kind, records, tally)
        except psycopg.Error as error:
            if not is_about_data(error):
                raise
            if len(records) == 1:
                tally.rows += 1
                tally.refused += 1
                tally.letters.append(_refused(records[0], error))
                return
            middle = len(records) // 2
            self._apply(connection, kind, records[:middle], tally, isolate=True)
            self._apply(connection, kind, records[middle:], tally, isolate=True)

    def _execute(self, connection: Connection[TupleRow], kind: Kind, records: Sequence[Record], tally: Tally) -> None:
        rows = {"rows": msgspec.json.encode([kind.row(record.event) for record in records]).decode()}
        touched = connection.execute(statement("sinks", kind.apply), rows).rowcount
        missing, conflicts = 0, 0
        if touched < len(records):
            for record, (verdict,) in zip(
                records, connection.execute(statement("sinks", kind.judge), rows), strict=True
            ):
                if verdict == "missing":
                    missing += 1
                    tally.missing.append(record)
                elif verdict == "conflict":
                    conflicts += 1
                    tally.letters.append(_conflict(record))
        tally.rows += len(records)
        tally.applied[kind.name] = tally.applied.get(kind.name, 0) + touched
        tally.stale[kind.name] = tally.stale.get(kind.name, 0) + len(records) - touched - missing - conflicts


def _row_keys(kind: Kind, records: Sequence[Record]) -> list[str]:
    """Return the keys under which other records may wait for what `records` did to their rows."""
    if kind is JOB_IDS:
        return [record.identity[1] for record in records]
    return [record.identity[0] for record in records]


def _refused(record: Record, error: psycopg.Error) -> DeadLetter:
    return DeadLetter(
        origin=record.origin,
        kind="refused",
        reason=describe(error),
        exception=f"psycopg.errors.{type(error).__name__}",
        code=error.sqlstate,
    )


def _conflict(record: Record) -> DeadLetter:
    return DeadLetter(
        origin=record.origin,
        kind="conflict",
        reason=CONFLICTS[record.kind.name],
        exception="callstream.ConflictError",
    )


def _count(tally: Tally) -> None:
    for outcome, counts in (("applied", tally.applied), ("stale", tally.stale)):
        for kind, count in counts.items():
            metrics.ROWS.labels(kind, outcome).inc(count)
    for record in tally.missing:
        metrics.ROWS.labels(record.kind.name, "parked").inc()
