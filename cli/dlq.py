"""`callstream dlq`: what nobody could use, and sending it again."""

from collections import defaultdict
from typing import Annotated, Any

import orjson
import typer
from rich.markup import escape
from rich.table import Table

from cli.parts import SEND_TIMEOUT_MS, console
from runtime.clock import SystemClock
from runtime.dead_letter_box import DeadLetterBox, FoundLetter, plan_replay
from runtime.errors import CallstreamError
from runtime.kafka import Publisher
from runtime.settings import Settings
from schemas.topics import ALL

dlq = typer.Typer(name="dlq", help="Dead letters: records that nobody could use.", no_args_is_help=True)

Topic = Annotated[str, typer.Argument(metavar="TOPIC", help="The source topic or its .dlq.", show_default=False)]


@dlq.command("list")
def list_letters(
    *, as_json: Annotated[bool, typer.Option("--json", help="One JSON value on the last line.")] = False
) -> None:
    """Count the dead letters of every topic by reason."""
    settings = Settings.load()
    found = [entry for topic in ALL for entry in _summary(settings, topic.name)]
    if as_json:
        typer.echo(orjson.dumps(found).decode())
        return
    table = Table("topic", "why", "letters", "not replayed", "oldest")
    for entry in found:
        table.add_row(*(escape(str(entry[name])) for name in ("topic", "stage", "letters", "waiting", "oldest")))
    console.print(table if found else "no dead letters")


@dlq.command()
def show(
    topic: Topic, *, limit: Annotated[int, typer.Option("--max", min=1, help="At most so many, the newest.")] = 20
) -> None:
    """Show where dead letters came from and why they died; their content stays where it is."""
    with DeadLetterBox(Settings.load().kafka, topic) as box:
        _require(box)
        letters = sorted(box.read(), key=lambda letter: letter.died_at)
    table = Table("from", "died at", "group", "bytes", "replayed", "reason")
    for letter in letters[-limit:]:
        source, partition, offset = letter.origin_id
        cells = (
            f"{source}[{partition}]@{offset}",
            letter.died_at.isoformat(timespec="seconds"),
            letter.group,
            str(letter.size),
            "yes" if letter.is_replayed else "no",
            letter.reason,
        )
        table.add_row(*map(escape, cells))
    console.print(table if letters else "no dead letters")


@dlq.command()
def replay(
    topic: Topic,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent; send nothing.")] = False,
    limit: Annotated[int | None, typer.Option("--max", min=1, help="Send exactly so many, where there are.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Old start requests and frequent deaths too.")] = False,
) -> None:
    """Send dead letters to their topic again: key, value and headers byte for byte, each original record once."""
    settings = Settings.load()
    with DeadLetterBox(settings.kafka, topic) as box:
        _require(box)
        letters = box.read()
        waiting = sum(not letter.is_replayed for letter in letters)
        plan = plan_replay(letters, now=SystemClock().now(), limit=limit, force=force)
        if dry_run:
            typer.echo(f"would send {len(plan.letters)} of {waiting}")
        else:
            _send(settings, box, plan.letters, waiting=waiting)
    for reason, count in plan.skipped.items():
        typer.echo(f"left {count}: {reason}")


def _send(settings: Settings, box: DeadLetterBox, letters: tuple[FoundLetter, ...], *, waiting: int) -> None:
    """Send, and say how many were sent whatever ends it."""
    sent = 0
    publisher = Publisher(settings.kafka, **{"message.timeout.ms": SEND_TIMEOUT_MS})
    try:
        for count in box.replay(letters, publisher):
            sent = count
    finally:
        typer.echo(f"sent {sent} of {waiting}")
        publisher.close()


def _summary(settings: Settings, topic: str) -> list[dict[str, Any]]:
    with DeadLetterBox(settings.kafka, topic) as box:
        letters = box.read() if box.exists() else []
    by_stage: dict[str, list[FoundLetter]] = defaultdict(list)
    for letter in letters:
        by_stage[letter.stage].append(letter)
    return [
        {
            "topic": topic,
            "stage": stage,
            "letters": len(of_stage),
            "waiting": sum(not letter.is_replayed for letter in of_stage),
            "oldest": min(letter.died_at for letter in of_stage).isoformat(timespec="seconds"),
        }
        for stage, of_stage in by_stage.items()
    ]


def _require(box: DeadLetterBox) -> None:
    if not box.exists():
        raise CallstreamError(f"there is no topic {box.topic}; `callstream dlq list` names those with dead letters")
