"""What the poll role reads and writes in PostgreSQL: leases of tasks, their rows, and what is due.

Each method is one transaction of one or two statements; all raise RetryableError while the database is away.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import msgspec
from psycopg import Connection
from psycopg.rows import TupleRow, dict_row

from producers.cloud.payloads import StoredJob
from producers.paging import PAGE_SIZE, OpenRow
from producers.schedule import Census, Lease, Scope, Standing
from runtime.postgres import Database
from runtime.sql import statement
from schemas.ids import CallJobId, TaskId
from schemas.jobs import ENDED_STATUSES

LEASE: Final = timedelta(seconds=20)
ENDED: Final = sorted(ENDED_STATUSES)

_standing: Final = msgspec.json.Decoder(Standing)


class PollStore:
    """Safe to share between threads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def lease(self, owner: str, limit: int) -> Sequence[Lease]:
        """Take up to `limit` due tasks that nobody works on, and draw each one's next instant."""
        with self._database.transaction() as connection, connection.cursor(row_factory=dict_row) as cursor:
            parameters = {"owner": owner, "limit": limit, "lease": LEASE}
            return [_lease(row) for row in cursor.execute(statement("producers", "poll_lease"), parameters)]

    def renew(self, lease: Lease) -> bool:
        """Keep a task for longer; returns False where somebody else has it by now."""
        return self._change("poll_renew", {**_key(lease), "lease": LEASE}) > 0

    def release(
        self,
        lease: Lease,
        delay: timedelta,
        *,
        standing: Standing | None = None,
        is_repaired: bool = False,
        is_done: bool = False,
    ) -> None:
        """Give a task back, due after `delay` unless somebody asked for it meanwhile; nothing where it was lost.

        Without a standing the one before stays.
        """
        changes = {
            "delay": delay,
            "leased_due_at": lease.due_at,
            "standing": None if standing is None else msgspec.json.encode(standing).decode(),
            "is_repaired": is_repaired,
            "is_done": is_done,
        }
        self._change("poll_release", _key(lease) | changes)

    def census(self, lease: Lease) -> Census:
        """Count the rows of a task."""
        with self._database.transaction() as connection, connection.cursor(row_factory=dict_row) as cursor:
            parameters = {"task_id": lease.task_id, "settled_after": lease.settled_after}
            rows = cursor.execute(statement("producers", "poll_census"), parameters).fetchall()
        jobs = [row for row in rows if row["has_job"]]
        firsts = (row["first_settled_at"] for row in jobs if row["first_settled_at"] is not None)
        lasts = (row["last_settled_at"] for row in jobs if row["last_settled_at"] is not None)
        return Census(
            unassigned=sum(row["rows"] for row in rows if not row["has_job"]),
            jobs={row["call_status"]: row["rows"] for row in jobs},
            first_settled_at=min(firsts, default=None),
            last_settled_at=max(lasts, default=None),
        )

    def rows(self, lease: Lease, scope: Scope, named: Sequence[CallJobId] = ()) -> list[OpenRow]:
        """Return the jobs to be listed, each on its page; a job that came without a page gets one first."""
        with self._database.transaction() as connection:
            rows = _read_rows(connection, lease, scope, named)
            if any(page is None for *_, page in rows):
                places = {"task_id": lease.task_id, "page_size": PAGE_SIZE}
                connection.execute(statement("producers", "poll_give_pages"), places)
                rows = _read_rows(connection, lease, scope, named)
        return [_open_row(lease, row) for row in rows]

    def wake(self, shortest: timedelta) -> None:
        """Make tasks due that somebody started or resumed since their last look."""
        self._change("poll_wake", {"shortest": shortest})

    def request(self, task_id: TaskId, *, repair: bool) -> bool:
        """Make a task due at once; returns False where neither the task nor a lead of it is known."""
        parameters = {"task_id": task_id, "repair": repair}
        return bool(self._change("poll_request", parameters) or self._change("poll_adopt", parameters))

    def _change(self, name: str, parameters: Mapping[str, object]) -> int:
        with self._database.transaction() as connection:
            return connection.execute(statement("producers", name), parameters).rowcount


def _key(lease: Lease) -> dict[str, object]:
    return {"task_id": lease.task_id, "owner": lease.owner, "observed_at": lease.observed_at}


def _lease(row: dict[str, Any]) -> Lease:
    try:
        standing = _standing.decode(row.pop("standing"))
    except msgspec.DecodeError:  # somebody wrote one by hand
        standing = Standing()
    return Lease(standing=standing, **row)


def _read_rows(
    connection: Connection[TupleRow], lease: Lease, scope: Scope, named: Sequence[CallJobId]
) -> list[TupleRow]:
    parameters = {
        "task_id": lease.task_id,
        "everything": scope is Scope.EVERYTHING,
        "open": scope is Scope.OPEN,
        "moved": scope is Scope.MOVED,
        "named": list(named),
        "ended": ENDED,
        "settled_after": lease.settled_after,
        "settled_until": lease.settled_until,
    }
    return connection.execute(statement("producers", "poll_rows"), parameters).fetchall()


def _open_row(lease: Lease, row: TupleRow) -> OpenRow:
    reference_id, job_id, version, status, page = row
    stored = StoredJob(
        task_id=lease.task_id,
        reference_id=reference_id,
        call_job_id=job_id,
        status_version=version,
        call_status=status,
    )
    return OpenRow(stored=stored, page=page)
