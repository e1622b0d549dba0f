"""What commands share: ids, a console, a producer for one event, a cloud client for one call."""

import sys
from collections.abc import Callable
from typing import TypeVar

import msgspec
import typer
from rich.console import Console

from producers.cloud.client import CloudClient
from producers.task_control import TaskControl
from producers.task_store import TaskStore
from runtime.clock import SystemClock
from runtime.kafka import Publisher, outgoing
from runtime.postgres import Database
from runtime.settings import Settings
from schemas.topics import Topic

console = Console(width=None if sys.stdout.isatty() else 240)

E = TypeVar("E", bound=msgspec.Struct)

SEND_TIMEOUT_MS = 30_000
EMERGENCY_TIMEOUT_MS = 3_000


def parse_id(value: str) -> str:
    """Return an id as the contract has it: 1 to 128 characters without NUL; raises BadParameter."""
    if not 1 <= len(value) <= 128 or "\0" in value:
        raise typer.BadParameter("an id has 1 to 128 characters, and no NUL")
    return value


def publish(settings: Settings, topic: Topic[E], *events: E) -> None:
    """Send events as the CRM would; raises RetryableError where the broker does not take them within 30 s."""
    publisher = Publisher(settings.kafka, **{"message.timeout.ms": SEND_TIMEOUT_MS})
    try:
        publisher.publish(outgoing(topic, event, source="cli") for event in events)
    finally:
        publisher.close()


def with_task_control(settings: Settings, action: Callable[[TaskControl], None]) -> None:
    """Call `action` with what stops and resumes tasks."""
    database = Database(settings.dsn, name="cli")
    database.open()
    publisher = Publisher(settings.kafka, **{"message.timeout.ms": EMERGENCY_TIMEOUT_MS})
    try:
        action(TaskControl(TaskStore(database, worker="cli"), CloudClient(settings.cloud), publisher, SystemClock()))
    finally:
        publisher.close()
        database.close()
