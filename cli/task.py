"""`callstream task`: what the tasks are at, and what is wanted of them.

Requests go through Kafka as the CRM's do. Pause, resume and cancel call the cloud at once: an emergency stop must work
while Kafka is away.
"""

import time
from collections.abc import Callable
from typing import Annotated, Any
from uuid import uuid4

import orjson
import psycopg
import typer
from psycopg.rows import dict_row
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress
from rich.table import Table

from cli.parts import console, parse_id, parse_ids, publish, with_task_control
from producers.task_control import NotToldError, TaskControl
from runtime.clock import SystemClock
from runtime.errors import CallstreamError
from runtime.settings import Settings
from runtime.sql import statement
from schemas.ids import CallJobId, RequestId, TaskId
from schemas.tasks import QueryRequested, StartRequested, TaskAnalysisRequested
from schemas.topics import QUERY_REQUESTED, START_REQUESTED, TASK_ANALYSIS_REQUESTED

task = typer.Typer(name="task", help="Call tasks: what they are at, and what is wanted of them.", no_args_is_help=True)

WAIT_SECONDS = 600.0
SHOWN_REFUSALS = 20
COLUMNS = (
    "task_id",
    "state",
    "leads",
    "unassigned",
    "waiting",
    "calling",
    "succeeded",
    "failed",
    "cancelled",
    "refused",
    "interested",
)

TaskArgument = Annotated[str, typer.Argument(metavar="ID", show_default=False, callback=parse_id)]
Wait = Annotated[bool, typer.Option("--wait", help="Return when it is done; exit 1 if it fails.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON value on the last line.")]


@task.command("list")
def list_tasks(*, as_json: Json = False) -> None:
    """Show every task."""
    found = _tasks(Settings.load(), None)
    if as_json:
        typer.echo(orjson.dumps(found).decode())
        return
    table = Table(*COLUMNS)
    for entry in found:
        table.add_row(*("" if entry[name] is None else str(entry[name]) for name in COLUMNS))
    console.print(table)


@task.command()
def show(task_id: TaskArgument, *, as_json: Json = False) -> None:
    """Show one task."""
    found = _tasks(Settings.load(), task_id)
    if not found:
        raise CallstreamError(f"there is no task {task_id}")
    found[0]["refused_leads"] = _rows(Settings.load(), "refused_leads", {"task_id": task_id})
    if as_json:
        typer.echo(orjson.dumps(found[0]).decode())
        return
    table = Table(show_header=False)
    for name, value in found[0].items():
        if name != "refused_leads":
            table.add_row(name, "" if value is None else str(value))
    console.print(table)
    refused = found[0]["refused_leads"]
    if refused:
        reasons = Table("leads_id", "why nobody calls it", title="refused leads")
        for lead in refused[:SHOWN_REFUSALS]:
            reasons.add_row(lead["leads_id"], lead["reason"])
        console.print(reasons)
        if len(refused) > SHOWN_REFUSALS:
            console.print(f"and {len(refused) - SHOWN_REFUSALS} more; --json shows them")


@task.command()
def start(task_id: TaskArgument, *, wait: Wait = False) -> None:
    """Have the leads of a task called."""
    settings = Settings.load()
    known = _row(settings, "task_state", {"task_id": task_id}) if wait else None
    if known is not None and known[1] in {"paused", "cancelled"}:
        raise CallstreamError(f"task {task_id} is {known[1]}")
    request = RequestId(str(uuid4()))
    event = StartRequested(task_id=TaskId(task_id), request_id=request, requested_at=SystemClock().now())
    publish(settings, START_REQUESTED, event)

    def is_answered() -> bool:
        row = _row(settings, "task_state", {"task_id": task_id})
        if row is None or row[0] != request or row[1] == "starting":
            return False
        if row[1] == "rejected":
            raise CallstreamError(f"task {task_id} was rejected: {row[2]}")
        return True

    _say_or_wait(f"task {task_id}: start requested", wait=wait, is_done=is_answered)


@task.command()
def query(
    task_id: TaskArgument, *, repair: Annotated[bool, typer.Option("--repair")] = False, wait: Wait = False
) -> None:
    """Look at a task's calls now; with --repair write every row again from the cloud."""
    settings = Settings.load()
    if wait and not _tasks(settings, task_id):
        raise CallstreamError(f"there is no task {task_id}")
    since = _database_now(settings)
    event = QueryRequested(
        task_id=TaskId(task_id), request_id=RequestId(str(uuid4())), requested_at=since, repair=repair or None
    )
    publish(settings, QUERY_REQUESTED, event)

    def is_looked_at() -> bool:
        row = _row(settings, "looked_since", {"task_id": task_id, "since": since})
        return bool(row and row[0])

    _say_or_wait(f"task {task_id}: query requested", wait=wait, is_done=is_looked_at)


@task.command()
def analyze(
    task_id: TaskArgument,
    *,
    job: Annotated[
        list[str] | None,
        typer.Option("--job", metavar="ID", help="Only this job; may be repeated.", callback=parse_ids),
    ] = None,
    wait: Wait = False,
) -> None:
    """Analyse finished calls of a task again."""
    settings = Settings.load()
    finished, others = _row(settings, "finished_calls", {"task_id": task_id, "jobs": job or []}) or (0, [])
    if others:
        raise CallstreamError(f"task {task_id} has no finished call {', '.join(others)}")
    if not finished:
        raise CallstreamError(f"task {task_id} has no finished call")
    since = _database_now(settings)
    event = TaskAnalysisRequested(
        task_id=TaskId(task_id),
        request_id=RequestId(str(uuid4())),
        requested_at=since,
        call_job_ids=tuple(map(CallJobId, job)) if job else None,
    )
    publish(settings, TASK_ANALYSIS_REQUESTED, event)

    typer.echo(f"task {task_id}: analysis requested")
    if wait:
        _watch_analysis(settings, {"task_id": task_id, "since": since, "jobs": job})


@task.command()
def pause(task_id: TaskArgument, *, wait: Wait = False) -> None:
    """Stop calling, until resumed."""
    _order(TaskId(task_id), "paused", lambda control: control.pause(TaskId(task_id)), wait=wait)


@task.command()
def resume(task_id: TaskArgument, *, wait: Wait = False) -> None:
    """Go on calling."""
    _order(TaskId(task_id), "resumed", lambda control: control.resume(TaskId(task_id)), wait=wait)


@task.command()
def cancel(task_id: TaskArgument, *, wait: Wait = False) -> None:
    """Call nobody of the task any more."""
    _order(TaskId(task_id), "cancelled", lambda control: control.cancel(TaskId(task_id)), wait=wait)


def _order(task_id: TaskId, done: str, give: Callable[[TaskControl], None], *, wait: bool) -> None:
    """Give an order; with `wait`, return when a starter has made certain that the cloud obeys it."""

    def give_and_wait(control: TaskControl) -> None:
        try:
            give(control)
        except NotToldError as error:
            if not wait:
                raise
            typer.echo(str(error), err=True)
        _say_or_wait(f"task {task_id}: {done}", wait=wait, is_done=lambda: control.is_obeyed(task_id))

    with_task_control(Settings.load(), give_and_wait)


def _tasks(settings: Settings, task_id: str | None) -> list[dict[str, Any]]:
    return _rows(settings, "list_tasks", {"task_id": task_id})


def _rows(settings: Settings, name: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    with psycopg.connect(settings.dsn, row_factory=dict_row, application_name="callstream-cli") as connection:
        return connection.execute(statement("cli", name), parameters).fetchall()


def _row(settings: Settings, name: str, parameters: dict[str, Any]) -> tuple[Any, ...] | None:
    with psycopg.connect(settings.dsn, application_name="callstream-cli") as connection:
        return connection.execute(statement("cli", name), parameters).fetchone()


def _database_now(settings: Settings) -> Any:
    with psycopg.connect(settings.dsn, application_name="callstream-cli") as connection:
        row = connection.execute("select date_trunc('milliseconds', now())").fetchone()
    return row[0] if row else None


def _watch_analysis(settings: Settings, parameters: dict[str, Any]) -> None:
    """Show how many calls are analysed until all are; raises CallstreamError where some could not be."""
    with Progress(*Progress.get_default_columns(), MofNCompleteColumn(), console=Console(stderr=True)) as progress:
        bar = progress.add_task("analysed", total=None)

        def is_written() -> bool:
            done, total, failed = _row(settings, "analyzed_since", parameters) or (0, 0, 0)
            progress.update(bar, completed=done, total=total)
            if done == total and failed:
                raise CallstreamError(f"{failed} of {total} calls could not be analysed; their records say why")
            return bool(done == total)

        _wait(is_written)
    typer.echo("done")


def _say_or_wait(sentence: str, *, wait: bool, is_done: Callable[[], bool]) -> None:
    typer.echo(sentence)
    if not wait:
        return
    with Console(stderr=True).status("waiting"):
        _wait(is_done)
    typer.echo("done")


def _wait(is_done: Callable[[], bool]) -> None:
    clock = SystemClock()
    deadline = clock.monotonic() + WAIT_SECONDS
    while not is_done():
        if clock.monotonic() > deadline:
            raise CallstreamError(f"not done within {WAIT_SECONDS:g} s")
        time.sleep(0.3)
