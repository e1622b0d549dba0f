"""`callstream lead`: removes persons from the database, and says what else still knows of them.

Run as the owner of the tables: the roles' own account deletes no lead.
"""

from datetime import timedelta
from typing import Annotated

import psycopg
import typer
from psycopg import Connection
from psycopg.rows import dict_row
from rich.table import Table

from cli.parts import console, parse_id
from cli.topics import all_topics
from runtime.clock import SystemClock
from runtime.errors import CallstreamError
from runtime.settings import Settings
from runtime.sql import statement
from schemas.topics import ALL, DAY_MS, JOBS_POLLED, LEAD_ADDED

lead = typer.Typer(name="lead", help="Persons in the database, and how they leave it.", no_args_is_help=True)

DELETIONS = {"follow-ups": "delete_follow_ups", "parked records": "delete_parked", "rows": "delete_leads"}
CHUNK = 1000

Rows = list[dict[str, str]]


@lead.callback()
def _group() -> None:
    """Persons in the database, and how they leave it."""


@lead.command()
def forget(
    leads_id: Annotated[str, typer.Argument(metavar="ID", show_default=False, callback=parse_id)],
    *,
    is_dry: Annotated[bool, typer.Option("--dry-run", help="Say what would be deleted; delete nothing.")] = False,
) -> None:
    """Delete all rows, follow-ups and parked records of a lead, and list what Kafka still holds and for how long.

    A lead that is being called, or about to be, is not deleted: cancel its task or wait for the call's end.
    """
    settings = Settings.load()
    with psycopg.connect(settings.dsn, row_factory=dict_row, application_name="callstream-cli") as connection:
        rows: Rows = connection.execute(statement("cli", "lead_rows"), {"leads_id": leads_id}).fetchall()
        if not rows:
            raise CallstreamError(f"there is no lead {leads_id}")
        if open_tasks := sorted({row["task_id"] for row in rows if row["is_open"]}):
            raise CallstreamError(
                f"lead {leads_id} has a call that has not ended in task {', '.join(open_tasks)}: "
                "cancel the task, or wait for the end of the call"
            )
        counts = {} if is_dry else _delete(connection, rows)
    typer.echo(f"would delete {len(rows)} rows" if is_dry else _sentence(counts))
    _tell_what_kafka_holds(settings, rows)


@lead.command()
def purge(
    *,
    days: Annotated[int, typer.Option("--ended-days", min=1, help="Tasks that ended so many days ago, or earlier.")],
    is_dry: Annotated[bool, typer.Option("--dry-run", help="Say what would be deleted; delete nothing.")] = False,
) -> None:
    """Delete the rows, follow-ups and parked records of all tasks that ended long ago; to be run every night."""
    before = SystemClock().now() - timedelta(days=days)
    total = dict.fromkeys(DELETIONS, 0)
    with psycopg.connect(Settings.load().dsn, row_factory=dict_row, application_name="callstream-cli") as connection:
        tasks = [row["task_id"] for row in connection.execute(statement("cli", "ended_tasks"), {"before": before})]
        for task_id in tasks if not is_dry else ():
            parameters = {"task_id": task_id, "limit": CHUNK}
            while rows := connection.execute(statement("cli", "rows_of_task"), parameters).fetchall():
                for name, count in _delete(connection, rows).items():
                    total[name] += count
                connection.commit()
    typer.echo(f"{len(tasks)} tasks ended before {before:%Y-%m-%d}" + ("" if is_dry else f"; {_sentence(total)}"))


def _delete(connection: Connection[dict[str, str]], rows: Rows) -> dict[str, int]:
    """Delete what belongs to `rows` in the caller's transaction; return how many of each."""
    references = [row["reference_id"] for row in rows]
    jobs = [row["call_job_id"] for row in rows if row["call_job_id"]]
    parameters = {"references": references, "jobs": jobs}
    return {name: connection.execute(statement("cli", sql), parameters).rowcount for name, sql in DELETIONS.items()}


def _sentence(counts: dict[str, int]) -> str:
    return "deleted " + ", ".join(f"{count} {name}" for name, count in counts.items())


def _tell_what_kafka_holds(settings: Settings, rows: Rows) -> None:
    """Print each topic that may still hold something of these rows, its key and how long it keeps it."""
    configs = {topic.name: topic.config for topic in all_topics(settings)}
    references = ", ".join(row["reference_id"] for row in rows)
    jobs = ", ".join(row["call_job_id"] for row in rows if row["call_job_id"]) or "-"
    table = Table("Kafka may still hold", "under the key", "for at most")
    for topic in (topic for topic in ALL if topic.has_personal_data):
        key = references if topic is LEAD_ADDED else "the page" if topic is JOBS_POLLED else jobs
        for name in (topic.name, topic.dead_letters):
            days = int(configs[name]["retention.ms"]) // DAY_MS
            table.add_row(name, key, f"{days} days")
    for name, config in configs.items():
        if config.get("cleanup.policy") == "compact":
            table.add_row(name, jobs, "until its job's entry leaves")
    console.print(table)
