"""`callstream leads import`: leads of a file into the system, good lines although others are rejected."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from rich.console import Console
from rich.progress import Progress

from cli.parts import SEND_TIMEOUT_MS, interrupts_held_back, parse_id
from producers.lead_files import Rejected, bounded_lines, read_leads
from runtime.errors import CallstreamError, RetryableError
from runtime.kafka import Outgoing, Publisher, outgoing
from runtime.settings import Settings
from schemas.ids import TaskId
from schemas.topics import LEAD_ADDED

CHUNK = 1000
CHUNK_BYTES = 8 * 1024 * 1024
KNOCKS = 3

leads = typer.Typer(name="leads", help="Leads from files.", no_args_is_help=True)


@leads.callback()
def _group() -> None:
    """Leads from files."""


@leads.command("import")
def import_leads(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", show_default=False, help="CSV or JSON Lines in UTF-8; - is stdin."),
    ],
    *,
    task: Annotated[str, typer.Option("--task", metavar="ID", show_default=False, callback=parse_id)],
) -> None:
    """Send every good line of a CSV or JSON Lines file as a lead; a repeated import changes nothing."""
    settings = Settings.load()
    with ExitStack() as stack:
        source = sys.stdin.buffer if str(file) == "-" else stack.enter_context(_open(file))
        publisher = Publisher(settings.kafka, **{"message.timeout.ms": SEND_TIMEOUT_MS})
        stack.callback(publisher.close)
        if not any(publisher.ping() for _ in range(KNOCKS)):
            raise RetryableError(f"no broker answers at {settings.kafka.bootstrap_servers}; nothing was sent")
        reading = _Import(source, file.name, TaskId(task))
        try:
            reading.run(publisher, total=None if str(file) == "-" else file.stat().st_size)
        except (CallstreamError, OSError) as error:
            raise CallstreamError(f"{error}; import the file again: what was sent already changes nothing") from error
        finally:
            reading.report()
    if reading.is_empty:
        raise CallstreamError(f"{file.name} is empty")
    if reading.rejected and not reading.sent:
        raise CallstreamError(f"no line of {file.name} could be used")


def _open(file: Path) -> BinaryIO:
    try:
        return file.open("rb")
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be read: {error.strerror}") from error


class _Import:
    """One file on its way; counts what was sent, and keeps why lines were not."""

    def __init__(self, source: BinaryIO, name: str, task_id: TaskId) -> None:
        self._source = source
        self._lines = bounded_lines(self._read_line)
        self._leads = read_leads(self._lines, task_id=task_id, name=name)
        self._read = 0
        self.sent = 0
        self.rejected: list[tuple[int, str]] = []

    @property
    def is_empty(self) -> bool:
        """Whether not even a header was there."""
        return not self._read

    def run(self, publisher: Publisher, *, total: int | None) -> None:
        """Send chunk by chunk, with a bar where somebody looks; raises what the publisher does."""
        console = Console(stderr=True)
        with Progress(console=console, disable=not console.is_terminal) as progress:
            bar = progress.add_task("leads", total=total)
            for chunk in self._chunks():
                with interrupts_held_back():
                    publisher.publish(chunk)
                    self.sent += len(chunk)
                progress.update(bar, completed=self._read)
            progress.update(bar, completed=self._read)

    def report(self) -> None:
        """Say what was done."""
        typer.echo(f"sent {self.sent}, rejected {len(self.rejected)}")
        for line, reason in self.rejected:
            typer.echo(f"line {line}: {reason}")

    def _chunks(self) -> Iterator[list[Outgoing]]:
        chunk: list[Outgoing] = []
        size = 0
        for number, line in self._leads:
            if isinstance(line, Rejected):
                self.rejected.append((number, line.reason))
                continue
            chunk.append(outgoing(LEAD_ADDED, line, source="cli"))
            size += len(chunk[-1].value or b"")
            if len(chunk) >= CHUNK or size >= CHUNK_BYTES:
                yield chunk
                chunk, size = [], 0
        if chunk:
            yield chunk

    def _read_line(self, limit: int) -> bytes:
        line = self._source.readline(limit)
        self._read += len(line)
        return line
