"""The writer: one transaction per flush, one statement per kind.

A statement takes all rows at once, as a JSON array or as a binary array per column, and touches only rows that its
records are newer for. Where it touched fewer than it was given, one question tells which records are to wait for their
row (parked), which are outdated (nothing to do) and which contradict the row (dead letters). Where the database refuses
the data, be it at the commit, the flush is done again with every statement in a savepoint and halved until the bad rows
stand alone.

Transactions take turns with their statements, but not with their commits: while one waits for the disk the next one
runs. It waits for rows that the first has locked, never the other way round, so the two cannot deadlock.
"""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import psycopg
from psycopg import Connection
from psycopg.adapt import Dumper
from psycopg.pq import Format
from psycopg.rows import TupleRow

from runtime import metrics
from runtime.dead_letters import DeadLetter
from runtime.postgres import Database, describe, is_about_data
from runtime.sql import statement
from sinks.batches import Batch, Portion, Record, portions_of
from sinks.breaker import Breaker, RowKey
from sinks.columns import Column
from sinks.mapping import JOB_IDS, LEADS, STATUSES, JsonArray
from sinks.parking import ParkingLot

CONFLICTS = {
    LEADS.name: "the lead has a row under another reference, or the reference belongs to another lead",
    JOB_IDS.name: "the lead already has another job id",
}


class Office(Protocol):
    """Where dead letters go."""

    def send(self, letters: Iterable[DeadLetter]) -> None:
        """Block until the broker has acknowledged every letter; raises RetryableError where it is away."""


@dataclass(kw_only=True)
class Tally:
    """What one transaction made of its records; `written` are those whose statement applied every one that it got."""

    seen: list[Record] = field(default_factory=list)
    written: list[Record] = field(default_factory=list)
    refused: list[Record] = field(default_factory=list)
    parked: list[Record] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)


class Writer:
    """Writes batches; may be used by several threads."""

    def __init__(self, database: Database, office: Office, *, park_seconds: float) -> None:
        self._database = database
        self._office = office
        self._lot = ParkingLot(keep_seconds=park_seconds)
        self._breaker = Breaker()
        self._turn = threading.Lock()  # whose statements run
        self._memory = threading.Lock()
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

    def sweep(self) -> bool:
        """Apply some parked records whose row has come; those whose time is over are applied for the last time.

        Returns whether there may be more to do at once; raises as `write` does.
        """
        tally = Tally()
        taken = 0
        with self._database.transaction() as connection, self._turn:
            waiting = self._lot.count(connection)
            if waiting:
                connection.execute(statement("sinks", "check_at_once"))
                ready, expired = self._lot.take(connection), self._lot.take_expired(connection)
                tally.letters += [*ready.letters, *expired.letters]
                taken = len(ready.records) + len(expired.records) + len(tally.letters)
                self._apply_each(connection, ready.records, tally)
                self._apply_last(connection, expired.records, tally)
                self._before_commit(connection, tally)
        with self._memory:
            self._parked = waiting - taken
        self._remember(tally)
        metrics.PARKED.set(self._parked)
        return taken > len(tally.parked)

    def _write(self, batch: Batch, *, isolate: bool) -> Tally:
        tally = Tally(letters=list(batch.letters))
        if not batch.portions:
            self._office.send(tally.letters)
            return tally
        with self._database.transaction() as connection, self._turn:
            if isolate:
                connection.execute(statement("sinks", "check_at_once"))
            for portion in batch.portions:
                if isolate:
                    self._isolate(connection, portion, tally)
                else:
                    self._execute(connection, portion, tally)
            if self._parked:
                self._apply_waiting(connection, batch.portions, tally)
            self._before_commit(connection, tally)
        self._remember(tally)
        return tally

    def _apply_waiting(self, connection: Connection[TupleRow], portions: Sequence[Portion], tally: Tally) -> None:
        """Apply what waits for the rows of `portions`; a job id that is set so brings the job's own records."""
        keys = [key for portion in portions for key in _keys_changed(portion.records)]
        while any(taken := self._lot.take(connection, keys)):
            tally.letters += taken.letters
            self._apply_each(connection, taken.records, tally)
            keys += _keys_changed(record for record in taken.records if record.kind is JOB_IDS)

    def _apply_last(self, connection: Connection[TupleRow], expired: Sequence[Record], tally: Tally) -> None:
        """Apply records whose time is over, once more; those that find no row are dead letters."""
        last = Tally()
        self._apply_each(connection, expired, last)
        tally.outcomes += last.outcomes
        tally.letters += [*last.letters, *map(self._lot.expired, last.parked)]

    def _apply_each(self, connection: Connection[TupleRow], records: Iterable[Record], tally: Tally) -> None:
        """Apply records that were parked; one that the database refuses is a dead letter."""
        for portion in portions_of(records):
            self._isolate(connection, portion, tally)

    def _before_commit(self, connection: Connection[TupleRow], tally: Tally) -> None:
        """Do what remains before the commit: the breaker's word, parking, and dead letters as the last of all."""
        self._breaker.check(_row_keys(tally.seen), _row_keys(tally.refused))
        if tally.parked:
            self._lot.park(connection, tally.parked)
        self._office.send(tally.letters)

    def _remember(self, tally: Tally) -> None:
        """Take note of what was committed."""
        with self._memory:
            self._breaker.record(_row_keys(tally.seen), _row_keys(tally.refused))
            self._parked += len(tally.parked)
        for (kind, outcome), count in tally.outcomes.items():
            metrics.ROWS.labels(kind, outcome).inc(count)
        for record in tally.parked:
            metrics.ROWS.labels(record.kind.name, "parked").inc()

    def _isolate(self, connection: Connection[TupleRow], portion: Portion, tally: Tally) -> None:
        """Apply a portion in a savepoint; where the database refuses it, its halves, down to the bad record alone."""
        try:
            with connection.transaction():
                self._execute(connection, portion, tally)
        except psycopg.Error as error:
            if not is_about_data(error):
                raise
            if len(portion.records) == 1:
                tally.seen += portion.records
                tally.refused += portion.records
                tally.letters.append(_refused(portion.records[0], error))
                return
            for half in portion.halves():
                self._isolate(connection, half, tally)

    def _execute(self, connection: Connection[TupleRow], portion: Portion, tally: Tally) -> None:
        """Apply a portion and judge what was not applied; changes `tally` only where no statement failed."""
        kind, records = portion.kind, portion.records
        touched = connection.execute(statement("sinks", kind.apply), portion.parameters).rowcount
        verdicts: Counter[str] = Counter()
        if touched < len(records):
            answers = connection.execute(statement("sinks", kind.judge), portion.parameters).fetchall()
            for record, (verdict,) in zip(records, answers, strict=True):
                verdicts[verdict] += 1
                if verdict == "park":
                    tally.parked.append(record)
                elif verdict == "conflict":
                    tally.letters.append(_conflict(record))
        else:
            tally.written += records
        tally.seen += records
        tally.outcomes[kind.name, "applied"] += touched
        tally.outcomes[kind.name, "stale"] += len(records) - touched - verdicts["park"] - verdicts["conflict"]


class _AsItIs(Dumper):
    """Hands the library what is encoded already; the statement says which type it is."""

    def dump(self, obj: bytes) -> bytes:
        """Return the bytes."""
        return obj


class _InBinary(_AsItIs):
    format = Format.BINARY


psycopg.adapters.register_dumper(JsonArray, _AsItIs)
psycopg.adapters.register_dumper(Column, _InBinary)


def _keys_changed(records: Iterable[Record]) -> list[str]:
    """Return the keys under which other records may wait for what `records` did to their rows."""
    keys = []
    for record in records:
        key, variant = record.identity
        if record.kind is JOB_IDS:
            keys.append(variant)
        elif record.kind in (LEADS, STATUSES):
            keys.append(key)
    return keys


def _row_keys(records: Iterable[Record]) -> Iterator[RowKey]:
    return ((record.kind.name, record.identity[0]) for record in records)


def _refused(record: Record, error: psycopg.Error) -> DeadLetter:
    return DeadLetter(
        origin=record.origin,
        kind="refused",
        reason=describe(error).removeprefix(f"{error.sqlstate}: "),
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
