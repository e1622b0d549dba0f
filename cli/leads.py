"""`callstream leads import`: leads of a file into the system, good lines although others are rejected."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from cli.parts import parse_id
from producers.lead_files import Rejected, read_leads
from runtime.kafka import Publisher, outgoing
from runtime.settings import Settings
from schemas.ids import TaskId
from schemas.leads import LeadAdded
from schemas.topics import LEAD_ADDED

CHUNK = 1000

leads = typer.Typer(name="leads", help="Leads from files.", no_args_is_help=True)


@leads.callback()
def _group() -> None:
    """Leads from files."""


@leads.command("import")
def import_leads(
    file: Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, show_default=False)],
    *,
    task: Annotated[str, typer.Option("--task", metavar="ID", show_default=False, callback=parse_id)],
) -> int:
    """Send every good line of a CSV or JSON Lines file as a lead; a repeated import changes nothing."""
    settings = Settings.load()
    rejected: list[tuple[int, str]] = []
    publisher = Publisher(settings.kafka)
    sent = 0
    try:
        with file.open("rb") as source, Progress(console=Console(stderr=True)) as progress:
            bar = progress.add_task("leads", total=file.stat().st_size)
            good = _good(read_leads(source, task_id=TaskId(task), name=file.name), rejected)
            while chunk := list(islice(good, CHUNK)):
                publisher.publish(outgoing(LEAD_ADDED, lead, source="cli") for lead in chunk)
                sent += len(chunk)
                progress.update(bar, completed=source.tell())
    finally:
        publisher.close()
    typer.echo(f"sent {sent}, rejected {len(rejected)}")
    for line, reason in rejected:
        typer.echo(f"line {line}: {reason}")
    return 1 if rejected and not sent else 0


def _good(lines: Iterator[tuple[int, LeadAdded | Rejected]], rejected: list[tuple[int, str]]) -> Iterator[LeadAdded]:
    for number, line in lines:
        if isinstance(line, Rejected):
            rejected.append((number, line.reason))
        else:
            yield line
