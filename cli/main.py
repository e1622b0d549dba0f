"""The command `callstream`: its commands, and what an error looks like to the person who called it.

Exit status: 0 done, 1 failed, 2 wrong usage or settings. An error is one sentence on stderr.
"""

import os
import sys

import psycopg
import typer
from confluent_kafka import KafkaException
from rich.console import Console
from typer.exceptions import TyperException

from cli.check import check
from cli.demo import demo
from cli.dlq import dlq
from cli.lag import lag
from cli.lead import lead
from cli.leads import leads
from cli.migrate import migrate
from cli.recording import recording
from cli.run import run
from cli.task import task
from cli.topics import topics
from runtime.errors import CallstreamError
from runtime.logs import configure_logs
from runtime.postgres import describe
from runtime.settings import SettingsError

app = typer.Typer(
    name="callstream",
    help="Turns what an outbound-call cloud knows into what a CRM's database says, through Kafka.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (demo, run, migrate, recording, lag, check):
    app.command()(command)
for group in (topics, leads, lead, task, dlq):
    app.add_typer(group)


def main() -> None:
    """Run the command line and leave with its status."""
    configure_logs(form="console", level="CRITICAL", role="cli", libraries="CRITICAL")
    try:
        status = app(standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # who read it is gone, and wants no more
        status = 1
    except (CallstreamError, TyperException, typer.Abort, KeyboardInterrupt, psycopg.Error, KafkaException) as error:
        sentence, status = explain(error)
        shown = " ".join(sentence.split()).encode(errors="backslashreplace").decode()
        Console(stderr=True, soft_wrap=True).print(shown, markup=False, highlight=False)
    sys.exit(status if isinstance(status, int) else 0)


def explain(error: BaseException) -> tuple[str, int]:
    """Return the sentence and the exit status that an error ends the command with."""
    match error:
        case SettingsError():
            return str(error), 2
        case KeyboardInterrupt() | typer.Abort():
            return "interrupted", 130
        case psycopg.Error():
            return f"the database says {describe(error)}", 1
        case KafkaException():
            return f"Kafka says {error.args[0].str()}", 1
        case TyperException():
            describe_usage = getattr(error, "format_message", error.__str__)
            return str(describe_usage()), 2
        case _:
            return str(error), 1


if __name__ == "__main__":
    main()
