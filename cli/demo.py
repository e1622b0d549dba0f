"""`callstream demo`: the whole path on parts that are started for it, and the proof that every row is right."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated, NoReturn

import orjson
import typer
from rich.console import Console
from rich.live import Live

from cli import demo_view
from cli.groups import GROUPS
from cli.topics import all_topics
from devtools.performance import Performance, Summary
from devtools.stage import STAGE_VARIABLES, Stage
from producers.recorder import GROUP as RECORD_GROUP
from runtime.clock import SystemClock
from runtime.settings import Settings
from sinks.migrate import migrate

ROLES = ("poll", "start", "stream", "sink", "monitor")
TASKS = 2


class Broker(StrEnum):
    """Which broker the demo starts."""

    EMBEDDED = "embedded"
    APACHE = "apache"


def demo(
    *,
    leads: Annotated[int, typer.Option(min=1, max=100_000, help="How many leads.")] = 1000,
    broker: Annotated[
        Broker, typer.Option(help="The one in the wheel, or a real Apache Kafka from Maven.")
    ] = Broker.EMBEDDED,
    kafka: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Brokers that exist.")] = None,
    postgres: Annotated[str | None, typer.Option(metavar="DSN", help="An empty database that exists.")] = None,
    seed: Annotated[int, typer.Option(help="Of leads and calls.")] = 7,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON value on the last line.")] = False,
) -> int:
    """Send leads through the whole path, watch them, and check every row against the cloud."""
    with _own_environment(), Stage(broker=broker.value, kafka=kafka, postgres=postgres) as stage:
        os.environ.update(stage.environment({}))
        migrate(stage.dsn)
        stage.create_topics(all_topics(Settings.load()))
        result = _perform(stage, leads=leads, seed=seed, console=Console(stderr=as_json))
    if as_json:
        typer.echo(orjson.dumps(result.as_dict()).decode())
    return 0 if result.ok else 1


def _perform(stage: Stage, *, leads: int, seed: int, console: Console) -> Summary:
    clock = SystemClock()
    groups = {group: topics for group, topics in GROUPS.items() if group != RECORD_GROUP}
    performance = Performance(stage, lead_count=leads, task_count=min(TASKS, leads), seed=seed, groups=groups)
    begin = clock.monotonic()
    with stage.run(ROLES, os.environ), Live(console=console, refresh_per_second=4) as live:
        performance.begin()
        for moment in performance.watch(clock=clock, seconds=120 + leads / 20):
            seconds = clock.monotonic() - begin
            live.update(demo_view.live(moment, seconds=seconds, leads_per_task=-(-leads // TASKS)))
        duration = clock.monotonic() - begin
    result = performance.judge(duration_seconds=duration)
    performance.close()
    console.print()
    console.print(demo_view.summary(result))
    return result


@contextmanager
def _own_environment() -> Iterator[None]:
    """Leave out what the caller's environment and `.env` say; SIGTERM cleans up as Ctrl-C does."""
    for name in [name for name in os.environ if name.upper().startswith(STAGE_VARIABLES)]:
        del os.environ[name]

    def interrupt(_number: int, _frame: object) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    os.chdir("/")
    yield
