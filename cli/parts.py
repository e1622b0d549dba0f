"""What commands share: ids, a console, a producer for one event that no Ctrl-C disturbs, a client of the cloud."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, TypeVar

import msgspec
import typer
from rich.console import Console

from producers.task_control import TaskControl
from producers.task_store import TaskStore
from runtime.errors import CallstreamError, RetryableError
from runtime.kafka import Publisher, outgoing
from runtime.postgres import Database
from runtime.settings import Settings
from schemas.topics import Topic

if TYPE_CHECKING:
    from producers.cloud.client import CloudClient

console = Console(width=None if sys.stdout.isatty() else 240)

E = TypeVar("E", bound=msgspec.Struct)

SEND_TIMEOUT_MS = 30_000


def parse_id(value: str) -> str:
    """Return an id as the contract has it: 1 to 128 characters without NUL; raises BadParameter."""
    if not 1 <= len(value) <= 128 or "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise typer.BadParameter("an id has 1 to 128 characters of UTF-8, and no NUL")
    return value


def parse_ids(values: list[str] | None) -> list[str] | None:
    """Return the ids of an option that may be repeated; raises BadParameter for the first that is none."""
    return [parse_id(value) for value in values] if values else None


@contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Have Ctrl-C wait until the block is left; a second one does not wait. For the main thread.

    The Kafka client, interrupted while it takes a record, forgets the interrupt or raises something else in its place.
    """
    came = False

    def hold_back(number: int, frame: FrameType | None) -> None:
        nonlocal came
        if came:
            signal.default_int_handler(number, frame)
        came = True

    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield  # ignored, as in the background of a shell
        return
    signal.signal(signal.SIGINT, hold_back)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if came:
        raise KeyboardInterrupt


def publish(settings: Settings, topic: Topic[E], *events: E) -> None:
    """Send events as the CRM would; raises CallstreamError where the broker does not take them within 30 s."""
    publisher = Publisher(settings.kafka, **{"message.timeout.ms": SEND_TIMEOUT_MS})
    try:
        with interrupts_held_back():
            publisher.publish(outgoing(topic, event, source="cli") for event in events)
    except RetryableError as error:
        raise CallstreamError(f"{topic.name} took nothing ({error}); `callstream check` says what is wrong") from error
    finally:
        publisher.close()


def cloud_client(settings: Settings) -> "CloudClient":
    """Return a client of the cloud; its SDK, which takes half a second to import, is of no other command."""
    from producers.cloud.client import CloudClient  # noqa: PLC0415 - see above

    return CloudClient(settings.cloud)


def with_task_control(settings: Settings, action: Callable[[TaskControl], None]) -> None:
    """Call `action` with what stops and resumes tasks."""
    database = Database(settings.dsn, name="cli")
    database.open()
    try:
        action(TaskControl(TaskStore(database, worker="cli"), cloud_client(settings)))
    finally:
        database.close()
