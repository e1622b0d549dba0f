"""How each role is put together; the only place where concrete parts meet."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack

from cli.groups import GROUPS
from runtime.clock import SystemClock
from runtime.dead_letters import DeadLetterOffice
from runtime.kafka import Publisher, make_consumer
from runtime.lag import LagMeter
from runtime.monitor import Monitor
from runtime.postgres import Database
from runtime.service import Check, Service
from runtime.settings import Settings
from sinks.batches import BatchPolicy
from sinks.loop import GROUP as SINK_GROUP
from sinks.loop import Sink
from sinks.writer import Writer
from streams.worker import run_changes, run_followups

LETTER_TIMEOUT_MS = 5_000


def run_sink(settings: Settings) -> None:
    """Write what the topics say into PostgreSQL until a signal comes."""
    with ExitStack() as stack:
        database = _database(settings, "sink", stack)
        publisher = _publisher(settings, stack, **{"message.timeout.ms": LETTER_TIMEOUT_MS})
        checks: dict[str, Check] = {"database": database.ping}
        service = _service(settings, "sink", checks)
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


def run_monitor(settings: Settings) -> None:
    """Publish lag until a signal comes."""
    monitor = Monitor(LagMeter(settings.kafka, GROUPS), SystemClock())
    with _service(settings, "monitor", {"kafka": monitor.has_measured}) as service:
        monitor.run(service)


ROLES: dict[str, Callable[[Settings], None]] = {
    "sink": run_sink,
    "changes": run_changes,
    "followups": run_followups,
    "monitor": run_monitor,
}


def _service(settings: Settings, role: str, checks: Mapping[str, Check]) -> Service:
    return Service(role=role, host=settings.core.http_host, port=settings.core.http_port, checks=checks)


def _database(settings: Settings, role: str, stack: ExitStack, *, max_size: int = 4) -> Database:
    database = Database(settings.dsn, name=role, max_size=max_size)
    database.open()
    stack.callback(database.close)
    return database


def _publisher(settings: Settings, stack: ExitStack, **overrides: str | float | bool) -> Publisher:
    publisher = Publisher(settings.kafka, **overrides)
    stack.callback(publisher.close)
    return publisher
