"""`callstream lag`: how far every group is behind, from committed offsets."""

import time
from typing import Annotated, Any

import orjson
import typer
from rich.live import Live
from rich.table import Table

from cli.groups import GROUPS
from cli.parts import console
from runtime.clock import SystemClock
from runtime.lag import LagMeter, PartitionLag
from runtime.settings import Settings

WATCH_SECONDS = 2.0


def lag(
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON value on the last line.")] = False,
) -> None:
    """Show lag per group, topic and partition, in records and in seconds."""
    meter = LagMeter(Settings.load().kafka, GROUPS)
    try:
        if as_json:
            typer.echo(orjson.dumps([as_dict(entry) for entry in meter.measure()]).decode())
        elif watch:
            with Live(_table(meter.measure()), console=console) as live:
                while True:
                    time.sleep(WATCH_SECONDS)
                    live.update(_table(meter.measure()))
        else:
            console.print(_table(meter.measure()))
    finally:
        meter.close()


def as_dict(entry: PartitionLag) -> dict[str, Any]:
    """Return one partition's lag as the JSON output shows it."""
    return {
        "group": entry.group,
        "topic": entry.topic,
        "partition": entry.partition,
        "committed": entry.committed,
        "end": entry.end,
        "records": entry.records,
        "seconds": round(entry.seconds(SystemClock().now()), 3),
    }


def _table(entries: list[PartitionLag]) -> Table:
    table = Table("group", "topic", "partition", "committed", "end", "records", "seconds")
    for entry in map(as_dict, entries):
        committed = "never" if entry["committed"] is None else str(entry["committed"])
        table.add_row(
            entry["group"],
            entry["topic"],
            str(entry["partition"]),
            committed,
            str(entry["end"]),
            str(entry["records"]),
            f"{entry['seconds']:.1f}",
        )
    return table
