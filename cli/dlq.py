"""`callstream dlq`: what nobody could use, and sending it again."""

from collections import Counter
from typing import Annotated, Any

import orjson
import typer
from rich.table import Table

from cli.parts import console
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
        table.add_row(*(str(entry[name]) for name in ("topic", "stage", "letters", "waiting", "oldest")))
    console.print(table if found else "no dead letters")


@dlq.command()
def show(
    topic: Topic, *, limit: Annotated[int, typer.Option("--max", min=1, help="At most so many, the newest.")] = 20
) -> None:
    """Show where dead letters came from and why they died; their content stays where it is."""
    table = Table("from", "died at", "group", "bytes", "reason")
    for letter in _open_and_read(Settings.load(), topic)[-limit:]:
        source, partition, offset = letter.origin_id
        table.add_row(
            f"{source}[{partition}]@{offset}",
            letter.died_at.isoformat(timespec="seconds"),
            letter.error("consumer.group"),
            str(len(letter.place.value or b"")),
            letter.error("exception.message"),
        )
    console.print(table)


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
        plan = plan_replay(letters, now=SystemClock().now(), limit=limit, force=force)
        if not dry_run and plan.letters:
            publisher = Publisher(settings.kafka)
            try:
                publisher.publish(letter.original() for letter in plan.letters)
            finally:
                publisher.close()
            box.mark_replayed(plan)
    verb = "would send" if dry_run else "sent"
    typer.echo(f"{verb} {len(plan.letters)} of {sum(not letter.is_replayed for letter in letters)}")
    for reason, count in plan.skipped.items():
        typer.echo(f"left {count}: {reason}")


def _summary(settings: Settings, topic: str) -> list[dict[str, Any]]:
    with DeadLetterBox(settings.kafka, topic) as box:
        letters = box.read() if box.exists() else []
    stages = Counter(letter.error("stage") or "unknown" for letter in letters)
    return [
        {
            "topic": topic,
            "stage": stage,
            "letters": count,
            "waiting": sum(
                not letter.is_replayed for letter in letters if (letter.error("stage") or "unknown") == stage
            ),
            "oldest": min(letter.died_at for letter in letters).isoformat(timespec="seconds"),
        }
        for stage, count in stages.items()
    ]


def _open_and_read(settings: Settings, topic: str) -> list[FoundLetter]:
    with DeadLetterBox(settings.kafka, topic) as box:
        _require(box)
        return box.read()


def _require(box: DeadLetterBox) -> None:
    if not box.exists():
        raise CallstreamError(f"there is no topic {box.topic}")
