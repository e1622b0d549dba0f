"""`callstream run ROLE...`: the roles of a deployment, each as its own process."""

from enum import StrEnum
from typing import Annotated

import typer

from cli.supervisor import plan, supervise
from runtime.clock import SystemClock
from runtime.errors import FatalError
from runtime.logs import configure_logs
from runtime.settings import Settings, SettingsError


class Role(StrEnum):
    """What can be run."""

    POLL = "poll"
    START = "start"
    STREAM = "stream"
    RECORD = "record"
    SINK = "sink"
    MONITOR = "monitor"


def run(roles: Annotated[list[Role], typer.Argument(metavar="ROLE...", show_default=False)]) -> None:
    """Run roles (poll, start, stream, record, sink, monitor) until SIGTERM; what ends is started again."""
    settings = Settings.load()
    plans = plan([role.value for role in roles], settings.core.http_port)
    if plans[-1].port > 65535:
        raise SettingsError(f"CALLSTREAM_HTTP_PORT: {settings.core.http_port} leaves no port for each of the roles")
    configure_logs(form=settings.core.log_format, level=settings.core.log_level, role="run")
    if not supervise(plans, SystemClock()):
        raise FatalError("every role has given up; see what it logged last")
