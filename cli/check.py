"""`callstream check`: connects to each part and says what is wrong."""

import asyncio
from collections.abc import Callable
from typing import Annotated

import orjson
import psycopg
import typer
from confluent_kafka import KafkaException
from rich.table import Table

from cli.parts import cloud_client, console
from cli.topics import all_topics
from runtime.clock import SystemClock
from runtime.errors import CallstreamError
from runtime.kafka import connection_problem, make_admin
from runtime.postgres import describe
from runtime.settings import Settings
from runtime.topic_admin import differences
from schemas.jobs import Turn
from sinks.migrate import pending
from streams.analysis.prompting import document_of
from streams.analysis.protocol import CONTACT


def check(*, as_json: Annotated[bool, typer.Option("--json", help="One JSON value on the last line.")] = False) -> int:
    """Connect to Kafka, database, cloud and model, where one is set, and say what is wrong; exit 1 if anything is."""
    settings = Settings.load()
    parts: dict[str, Callable[[Settings], str]] = {"kafka": _kafka, "postgres": _postgres, "cloud": _cloud}
    if settings.analysis.base_url:
        parts["analysis"] = _analysis
    problems = {name: _problem(part, settings) for name, part in parts.items()}
    ok = not any(problems.values())
    if as_json:
        typer.echo(orjson.dumps({"ok": ok, "problems": problems}).decode())
    else:
        table = Table("part", "", "what is wrong")
        for name, problem in problems.items():
            table.add_row(name, "FAILED" if problem else "ok", problem)
        console.print(table)
    return 0 if ok else 1


def _problem(part: Callable[[Settings], str], settings: Settings) -> str:
    try:
        return part(settings)
    except CallstreamError as error:
        return str(error)
    except psycopg.Error as error:
        return describe(error)
    except KafkaException as error:
        return str(error.args[0].str())


def _kafka(settings: Settings) -> str:
    if problem := connection_problem(settings.kafka):
        return problem
    return "; ".join(differences(make_admin(settings.kafka), all_topics(settings)))


def _postgres(settings: Settings) -> str:
    missing = pending(settings.dsn)
    return f"run callstream migrate: {', '.join(missing)} missing" if missing else ""


def _cloud(settings: Settings) -> str:
    cloud_client(settings).describe_instance()
    return ""


def _analysis(settings: Settings) -> str:
    from streams.analysis.endpoint import Endpoint  # noqa: PLC0415 - its library takes a second to import

    async def ask() -> None:
        endpoint = Endpoint(settings.analysis, SystemClock())
        try:
            await endpoint.ask(document_of((Turn(speaker=CONTACT, script="不需要，谢谢"),)))
        finally:
            await endpoint.close()

    asyncio.run(ask())
    return ""
