"""What a few rows that the database refuses cost, by halving and by trying each row again alone.

Usage: python -m benchmarks.bad_rows [--rows N] [--rounds N]

A batch sets the job ids of N leads; one of them, then ten, claim an id that another row has, which the unique index
refuses. The sink's writer halves what is refused until the bad rows stand alone. Retrying row by row, as sinks do that
retry alone, puts each row into a savepoint of its own after the first refusal, in the same transaction and with the
same statement. Both end with the same rows written; sending the dead letters is part of neither. Statements are
counted in a separate pass, by the log of another server; savepoints are statements too.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

import msgspec
import psycopg
from psycopg import Connection
from psycopg.rows import TupleRow

from benchmarks.measuring import record
from benchmarks.row_by_row import executed, prepare, task_of
from benchmarks.writing import batch_of, opened
from devtools.postgres import EmbeddedPostgres
from runtime.postgres import Database
from runtime.sql import statement
from schemas.ids import CallJobId
from schemas.jobs import JobAssigned
from schemas.leads import LeadAdded
from sinks.mapping import JOB_IDS, LEADS

BAD = (0, 1, 10)
TAKEN = CallJobId("job-00000000-4f1c-9a37")  # of a row that is there already
DONE = "select count(*) from leads_task_list where task_id = %s and call_job_id <> ''"
HALVING, ALONE = WAYS = ("halving", "row by row")


def main() -> None:
    """Count, measure some rounds, and keep the medians."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with EmbeddedPostgres(log_statements=True) as server:
        counted = run(server, arguments.rows, 1, partial(statements, server))
    with EmbeddedPostgres(durable=True) as server:
        timed = run(server, arguments.rows, arguments.rounds, milliseconds)
    results = [
        {
            "bad": bad,
            "way": way,
            **dict(zip(("statements", "with_transaction_control"), counted[bad, way][0], strict=True)),
            "ms": round(statistics.median(ms for (ms,) in taken), 1),
            "rounds_ms": [round(ms, 1) for (ms,) in taken],
        }
        for (bad, way), taken in timed.items()
    ]
    record("bad_rows", {"rows": arguments.rows, "results": results})


def statements(server: EmbeddedPostgres) -> tuple[float, ...]:
    """Return how many statements have set job ids so far, and how many there were in all."""
    said = executed(server)
    return said[JOB_IDS.apply], said.total()


def milliseconds() -> tuple[float, ...]:
    """Return the time."""
    return (time.perf_counter() * 1e3,)


def run(
    server: EmbeddedPostgres, rows: int, rounds: int, gauge: Callable[[], tuple[float, ...]]
) -> dict[tuple[int, str], list[tuple[float, ...]]]:
    """Return by how much `gauge` grew while each way wrote each batch, round by round."""
    grown: dict[tuple[int, str], list[tuple[float, ...]]] = {(bad, way): [] for bad in BAD for way in WAYS}
    dsn = prepare(server)
    with opened(dsn) as (database, writer, drawer), psycopg.connect(dsn, autocommit=True) as connection:
        for number in range(rounds):
            for (bad, way), growth in grown.items():
                leads, jobs = batch_with(f"{number}-{bad}-{way}", rows, bad)
                writer.write(batch_of(LEADS, leads))
                drawer.letters.clear()
                before = gauge()
                if way == HALVING:
                    writer.write(batch_of(JOB_IDS, jobs))
                    refused = len(drawer.letters)
                else:
                    refused = retry_alone(database, jobs)
                growth.append(tuple(after - start for after, start in zip(gauge(), before, strict=True)))
                assert refused == bad
                assert connection.execute(DONE, (leads[0].task_id,)).fetchone() == (rows - bad,)
    return grown


def batch_with(name: str, rows: int, bad: int) -> tuple[Sequence[LeadAdded], Sequence[JobAssigned]]:
    """Return leads, and their assignments with so many bad ones at random places."""
    task = task_of(name, rows)
    places = set(random.Random(name).sample(range(rows), bad))
    jobs = [msgspec.structs.replace(job, call_job_id=TAKEN) if n in places else job for n, job in enumerate(task.jobs)]
    return task.leads, jobs


def retry_alone(database: Database, jobs: Sequence[JobAssigned]) -> int:
    """Write all at once and, where that is refused, each alone; return how many were refused."""
    events = sorted(jobs, key=lambda job: job.reference_id)  # in the order in which the sink locks rows
    try:
        with database.transaction() as connection:
            _write(connection, events)
    except psycopg.IntegrityError:
        refused = 0
        with database.transaction() as connection:
            for event in events:
                try:
                    with connection.transaction():
                        _write(connection, [event])
                except psycopg.IntegrityError:
                    refused += 1
        return refused
    return 0


def _write(connection: Connection[TupleRow], events: Sequence[msgspec.Struct]) -> None:
    connection.execute(statement("sinks", JOB_IDS.apply), JOB_IDS.parameters([JOB_IDS.row(event) for event in events]))


if __name__ == "__main__":
    main()
