"""How each role is put together; the only place where concrete parts meet."""

from collections.abc import Callable
from contextlib import ExitStack

from runtime.clock import SystemClock
from runtime.dead_letters import DeadLetterOffice
from runtime.kafka import Publisher, make_consumer
from runtime.postgres import Database
from runtime.service import Check, Service
from runtime.settings import Settings
from sinks.batches import BatchPolicy
from sinks.loop import GROUP as SINK_GROUP
from sinks.loop import Sink
from sinks.writer import Writer

LETTER_TIMEOUT_MS = 5_000


def run_sink(settings: Settings, port: int) -> None:
    """Write what the topics say into PostgreSQL until a signal comes."""
    with ExitStack() as stack:
        database = _database(settings, "sink", stack)
        publisher = _publisher(settings, stack, **{"message.timeout.ms": LETTER_TIMEOUT_MS})
        checks: dict[str, Check] = {"database": database.ping}
        service = Service(role="sink", host=settings.core.http_host, port=port, checks=checks)
        sink = Sink(
            consumer=make_consumer(settings, SINK_GROUP),
            writer=Writer(
                database,
                DeadLetterOffice(publisher, SINK_GROUP),
                park_seconds=settings.core.park_hours * 3600,
            ),
            policy=BatchPolicy(rows=settings.core.sink_batch_rows, seconds=settings.core.sink_batch_seconds),
            service=service,
            clock=SystemClock(),
        )
        checks["assigned"] = sink.is_assigned
        with service:
            sink.run()


ROLES: dict[str, Callable[[Settings, int], None]] = {"sink": run_sink}


def _database(settings: Settings, role: str, stack: ExitStack, *, max_size: int = 4) -> Database:
    database = Database(settings.dsn, name=role, max_size=max_size)
    database.open()
    stack.callback(database.close)
    return database


def _publisher(settings: Settings, stack: ExitStack, **overrides: str | float | bool) -> Publisher:
    publisher = Publisher(settings.kafka, **overrides)
    stack.callback(publisher.close)
    return publisher
