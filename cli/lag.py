"""`callstream lag`: who works in each group, and how far it is behind, from committed offsets."""

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from time import sleep
from typing import Annotated, Any

import orjson
import typer
from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cli.groups import groups_at_work
from cli.parts import console
from runtime.clock import SystemClock
from runtime.errors import RetryableError
from runtime.lag import GroupState, Health, Measured, PartitionLag, Stalls, health_of
from runtime.lag_meter import LagMeter
from runtime.settings import Settings

WATCH_SECONDS = 2.0
STYLES = {Health.WORKING: "green", Health.STUCK: "bold red", Health.NOBODY: "bold red", Health.UNKNOWN: "dim"}


def lag(
    *,
    watch: Annotated[
        bool, typer.Option("--watch", help="Refresh until Ctrl-C; of the partitions those that are behind.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON value on the last line.")] = False,
) -> None:
    """Show lag per group, topic and partition, in records and in seconds, and who works in each group."""
    settings = Settings.load()
    meter, clock = LagMeter(settings.kafka, groups_at_work(settings)), SystemClock()
    try:
        if as_json:
            measured = meter.look()
            states = {state.group: state for state in measured.states}
            entries = [as_dict(entry, states[entry.group], clock.now()) for entry in measured.lags]
            typer.echo(orjson.dumps(entries).decode())
        elif watch:
            with Live(console=console, auto_refresh=False) as live:
                for shown in _watched(meter, clock):
                    live.update(shown, refresh=True)
                    sleep(WATCH_SECONDS)
        else:
            measured = meter.look()
            console.print(_table(measured, measured.lags, {}, clock.now()))
    finally:
        meter.close()


def as_dict(entry: PartitionLag, state: GroupState, now: datetime) -> dict[str, Any]:
    """Return one partition's lag, and its group's state, as the JSON output shows them."""
    return {
        "group": entry.group,
        "state": state.state,
        "members": state.members,
        "topic": entry.topic,
        "partition": entry.partition,
        "committed": entry.committed,
        "end": entry.end,
        "records": entry.records,
        "seconds": round(entry.seconds(now), 3),
    }


def _watched(meter: LagMeter, clock: SystemClock) -> Iterator[RenderableType]:
    """Yield what is to be seen, for ever; an outage is something to be seen too."""
    stalls = Stalls()
    while True:
        try:
            measured = meter.look()
        except RetryableError as error:
            yield Text(str(error), "bold red")
        else:
            behind = [lag for lag in measured.lags if lag.records]
            yield _table(measured, behind, stalls.observe(measured.lags, clock.monotonic()), clock.now())


def _table(
    measured: Measured, partitions: Collection[PartitionLag], stalled: Mapping[str, float], now: datetime
) -> Table:
    """Return every group, and below it those of the partitions that are its own."""
    heads = ("group, topic", "part", "committed", "end", "records", "seconds")
    table = Table(*heads, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    states = {state.group: state for state in measured.states}
    for group, found in groupby(measured.lags, attrgetter("group")):
        lags = list(found)
        health, words = health_of(states[group], stalled.get(group, 0))
        title = Text(f"{group}: ").append(words, STYLES[health])
        behind = max(lag.seconds(now) for lag in lags)
        table.add_row(title, "", "", "", str(sum(lag.records for lag in lags)), f"{behind:.1f}", style="bold")
        for lag in (lag for lag in lags if lag in partitions):
            committed = "never" if lag.committed is None else str(lag.committed)
            numbers = (str(lag.partition), committed, str(lag.end), str(lag.records), f"{lag.seconds(now):.1f}")
            table.add_row(f"  {lag.topic}", *numbers)
    return table
