"""Compares what the database says with what the cloud knows, row by row and column by column."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from devtools.cloud.process import JobTruth
from schemas.instants import to_milliseconds

STATEMENT_NAME = re.compile(r"(?:statement|execute [^:]*): -- (\w+):")
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of `leads_task_list`, as far as the cloud knows it too."""

    task_id: str
    reference_id: str
    call_job_id: str
    columns: dict[str, Any]
    leads_follow_id: str | None
    is_interested: int | None
    delay_seconds: float | None


def read_rows(dsn: str) -> list[Row]:
    """Return every row; `delay_seconds` is from a call's end to the moment when its row first showed it."""
    with psycopg.connect(dsn, row_factory=dict_row, application_name="audit") as connection:
        found = connection.execute("select * from leads_task_list order by id").fetchall()
    return [
        Row(
            task_id=row["task_id"],
            reference_id=row["reference_id"],
            call_job_id=row["call_job_id"],
            columns={name: row[name] for name in _EXPECTED},
            leads_follow_id=row["leads_follow_id"],
            is_interested=row["is_interested"],
            delay_seconds=_delay(row["settled_at"], row["ended_at"]),
        )
        for row in found
    ]


def differences(rows: Iterable[Row], truth: Iterable[JobTruth]) -> list[str]:
    """Return a sentence for each row that is not what the cloud says, and for each job without a row."""
    jobs = {job["reference_id"]: job for job in truth}
    found = []
    for row in rows:
        job = jobs.pop(row.reference_id, None)
        if job is None:
            found.append(f"{row.reference_id}: no job in the cloud")
            continue
        if row.call_job_id != job["job_id"]:
            found.append(f"{row.reference_id}: call_job_id")
        expected = {name: of(job) for name, of in _EXPECTED.items()}
        found += [
            f"{row.reference_id}: {name}" for name, value in expected.items() if _plain(row.columns[name]) != value
        ]
    return found + [f"{reference}: no row" for reference in jobs]


def count_statements(log: Path, application: str) -> Counter[str]:
    """Return how often each named statement was executed by `application`, by the server's own log."""
    counts: Counter[str] = Counter()
    with log.open("r", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            name = STATEMENT_NAME.search(line) if line.startswith(application + "|") else None
            if name:
                counts[name[1]] += 1
    return counts


def _conversation(job: JobTruth) -> list[tuple[str, str, int]]:
    return [(turn["speaker"], UNSTORABLE.sub("\ufffd", turn["script"]), turn["at_ms"]) for turn in job["conversation"]]


def _plain(value: Any) -> Any:
    """Return a column's value in the shape that the cloud's truth is compared in."""
    if isinstance(value, datetime):
        return to_milliseconds(value)
    if isinstance(value, list):
        return [
            (turn["speaker"], turn["script"], to_milliseconds(datetime.fromisoformat(turn["at"]))) for turn in value
        ]
    return value


def _delay(settled_at: datetime | None, ended_at: datetime | None) -> float | None:
    return (settled_at - ended_at).total_seconds() if settled_at and ended_at else None


_EXPECTED = {
    "call_status": lambda job: job["status"],
    "planed_time": lambda job: job["planed_time"],
    "call_task_id": lambda job: job["call_task_id"],
    "calling_number": lambda job: job["calling_number"],
    "failure_reason": lambda job: job["failure_reason"],
    "started_at": lambda job: job["started_at"],
    "ended_at": lambda job: job["call_ended_at"],
    "call_conversation": _conversation,
}
