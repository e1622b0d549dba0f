"""Short-lived parts that commands share: a producer for one event, a cloud client for one call."""

from collections.abc import Callable
from typing import TypeVar

import msgspec

from producers.cloud.client import CloudClient
from producers.task_control import TaskControl
from producers.task_store import TaskStore
from runtime.clock import SystemClock
from runtime.kafka import Publisher, outgoing
from runtime.postgres import Database
from runtime.settings import Settings
from schemas.topics import Topic

E = TypeVar("E", bound=msgspec.Struct)

SEND_TIMEOUT_MS = 30_000
EMERGENCY_TIMEOUT_MS = 3_000


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
