"""What batches gain over one statement per row, the CRM's way, counted by the server and timed.

Usage: python -m benchmarks.row_by_row [--leads N] [--rounds N]

Three ways write the same: `autocommit`, a statement per row that commits itself, which is the least a round trip per
row can cost; `transactions`, a statement per row between BEGIN and COMMIT, which is what a framework's session sends;
and `callstream`, the sink's own writer. N leads are created, N job ids are set, and the statuses of N calls are written
in pages of 20. It is done over loopback and through a network whose round trip takes a millisecond, the ways taking
turns in each round. The server is durable and its table has other rows. Statements are counted in a separate pass, by
the log of another server.
"""

import argparse
import re
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import msgspec
import psycopg
from psycopg import Connection
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow

from benchmarks.measuring import record
from benchmarks.network import Network, direct, distant
from benchmarks.sink import SEED_ROWS, T0, event_of
from benchmarks.writing import batch_of, opened
from devtools.postgres import EmbeddedPostgres
from runtime.sql import statement
from schemas.ids import CallJobId, EventId, JobGroupId, LeadId, TaskId
from schemas.instants import from_milliseconds
from schemas.jobs import JobAssigned, StatusChanged
from schemas.leads import LeadAdded
from sinks.mapping import JOB_IDS, LEADS, STATUSES
from sinks.migrate import migrate
from sinks.writer import Writer

OTHER_ROWS = 50_000
PAGE = 20
AUTOCOMMIT, TRANSACTIONS, OURS = WAYS = ("autocommit", "transactions", "callstream")
EXECUTED = re.compile(r"^(?:crm|callstream-sink)\|LOG:  (?:statement|execute [^:]*): (?:-- )?(\w+)", re.MULTILINE)
DONE = """
select count(*) from leads_task_list
where task_id = %s and call_job_id <> '' and call_status = 'Executing' and call_conversation is not null
"""


@dataclass(frozen=True, kw_only=True)
class Task:
    """Leads, their assignments, and what was seen of their calls."""

    task_id: TaskId
    leads: Sequence[LeadAdded]
    jobs: Sequence[JobAssigned]
    statuses: Sequence[StatusChanged]


class Way(Protocol):
    """A way to write; each method returns when all is committed."""

    def create(self, leads: Sequence[LeadAdded]) -> None:
        """Insert the leads of a task."""

    def start(self, jobs: Sequence[JobAssigned]) -> None:
        """Set their job ids."""

    def show(self, page: Sequence[StatusChanged]) -> None:
        """Write what a page of the cloud's list says."""


class RowByRow:
    """As the CRM did it."""

    def __init__(self, connection: Connection[TupleRow]) -> None:
        self._connection = connection

    def create(self, leads: Sequence[LeadAdded]) -> None:
        """Insert each."""
        for lead in leads:
            self._write(
                "crm_insert_lead",
                task_id=lead.task_id,
                leads_id=lead.leads_id,
                leads_name=lead.leads_name,
                leads_phone=lead.leads_phone,
                reference_id=lead.reference,
            )

    def start(self, jobs: Sequence[JobAssigned]) -> None:
        """Update each."""
        for job in jobs:
            self._write("crm_set_job_id", call_job_id=job.call_job_id, reference_id=job.reference_id)

    def show(self, page: Sequence[StatusChanged]) -> None:
        """Update each."""
        for status in page:
            self._write(
                "crm_update_status",
                task_id=status.task_id,
                call_job_id=status.call_job_id,
                call_status=status.call_status,
                planed_time=status.planed_time,
                call_task_id=status.call_task_id,
                call_conversation=msgspec.json.encode(status.call_conversation).decode(),
                calling_number=status.calling_number,
            )

    def _write(self, name: str, **parameters: object) -> None:
        self._connection.execute(statement("benchmarks", name), parameters)
        self._connection.commit()  # with autocommit there is nothing left to do, and nothing is sent


class Batched:
    """As the sink does it."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def create(self, leads: Sequence[LeadAdded]) -> None:
        """Write one batch."""
        self._writer.write(batch_of(LEADS, leads))

    def start(self, jobs: Sequence[JobAssigned]) -> None:
        """Write one batch."""
        self._writer.write(batch_of(JOB_IDS, jobs))

    def show(self, page: Sequence[StatusChanged]) -> None:
        """Write one batch."""
        self._writer.write(batch_of(STATUSES, page))


def main() -> None:
    """Count, measure some rounds, and keep the medians."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--leads", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with EmbeddedPostgres(log_statements=True) as server:
        statements = count(server, arguments.leads)
    with EmbeddedPostgres(durable=True) as server:
        dsn = prepare(server)
        networks = {"loopback": measure(direct(dsn), arguments.leads, arguments.rounds)}
        with distant(dsn, round_trip_ms=1) as network:
            networks["1 ms"] = measure(network, arguments.leads, arguments.rounds)
    record("row_by_row", {"leads": arguments.leads, "statements": statements, "networks": networks})


def prepare(server: EmbeddedPostgres) -> str:
    """Make a database whose table has other rows."""
    dsn = server.create_database("crm")
    migrate(dsn)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(SEED_ROWS, (OTHER_ROWS,))
        connection.execute("vacuum analyze leads_task_list")
        connection.execute("checkpoint")
    return dsn


@contextmanager
def ways(dsn: str) -> Iterator[dict[str, Way]]:
    """Give each way with a connection of its own."""
    with ExitStack() as stack:
        _, writer, _ = stack.enter_context(opened(dsn))
        crm = make_conninfo(dsn, application_name="crm")
        yield {
            AUTOCOMMIT: RowByRow(stack.enter_context(psycopg.connect(crm, autocommit=True))),
            TRANSACTIONS: RowByRow(stack.enter_context(psycopg.connect(crm))),
            OURS: Batched(writer),
        }


def executed(server: EmbeddedPostgres) -> Counter[str]:
    """Return how often the server has executed each statement so far, by its name or first word."""
    return Counter(EXECUTED.findall(server.log_path.read_text(errors="replace")))


def count(server: EmbeddedPostgres, leads: int) -> dict[str, dict[str, dict[str, int]]]:
    """Return what the server was told to do, by way and step."""
    counted: dict[str, dict[str, dict[str, int]]] = {}
    with ways(prepare(server)) as them:
        for name, way in them.items():
            task, steps = task_of(f"count-{name}", leads), dict[str, dict[str, int]]()
            for step, work in (
                ("create", partial(way.create, task.leads)),
                ("start", partial(way.start, task.jobs)),
                ("page", partial(way.show, task.statuses[:PAGE])),
            ):
                before = executed(server)
                work()
                steps[step] = dict(executed(server) - before)
            counted[name] = steps
    return counted


def measure(network: Network, leads: int, rounds: int) -> dict[str, object]:
    """Return what each way takes in milliseconds, round by round, and how many times as fast ours is."""
    with ways(network.dsn) as them:
        taken = [one_round(network, them, f"{network.round_trip_ms:.3f}-{n}", leads) for n in range(rounds + 1)][1:]
    return {
        "round_trip_ms": round(network.round_trip_ms, 3),
        "mb_per_second": round(network.mb_per_second),
        "rounds": taken,
        "medians": {
            name: {step: statistics.median(r[name][step] for r in taken) for step in taken[0][name]} for name in WAYS
        },
        "times_as_fast": {
            name: {
                step: round(statistics.median(r[name][step] / r[OURS][step] for r in taken), 1)
                for step in taken[0][name]
            }
            for name in (AUTOCOMMIT, TRANSACTIONS)
        },
    }


def one_round(network: Network, them: dict[str, Way], label: str, leads: int) -> dict[str, dict[str, float]]:
    """Let each way write a task of its own, and check that it did."""
    taken = {}
    for name, way in them.items():
        task = task_of(f"{label}-{name}", leads)
        began = time.perf_counter()
        way.create(task.leads)
        way.start(task.jobs)
        started = time.perf_counter()
        for first in range(0, leads, PAGE):
            way.show(task.statuses[first : first + PAGE])
        ended = time.perf_counter()
        with psycopg.connect(network.dsn) as connection:
            assert connection.execute(DONE, (task.task_id,)).fetchone() == (leads,)
        taken[name] = {
            "create_and_start_ms": round((started - began) * 1e3, 2),
            "page_ms": round((ended - started) * 1e3 / -(-leads // PAGE), 3),
        }
    return taken


def task_of(name: str, leads: int) -> Task:
    """Return a task of so many leads."""
    task_id = TaskId(name)
    added = [
        LeadAdded(task_id=task_id, leads_id=LeadId(f"lead-{n}"), leads_name=f"name {n}", leads_phone=f"139{n:08d}")
        for n in range(leads)
    ]
    assigned = [
        JobAssigned(
            event_id=EventId(f"assigned-{name}-{n}"),
            task_id=task_id,
            reference_id=lead.reference,
            call_job_id=CallJobId(f"{name}-{n:08d}-4f1c-9a37"),
            job_group_id=JobGroupId(f"group-{name}"),
            assigned_at=from_milliseconds(T0),
        )
        for n, lead in enumerate(added)
    ]
    shown = [
        msgspec.structs.replace(event_of(n, n + 1), task_id=task_id, call_job_id=job.call_job_id)
        for n, job in enumerate(assigned)
    ]
    return Task(task_id=task_id, leads=added, jobs=assigned, statuses=shown)


if __name__ == "__main__":
    main()
