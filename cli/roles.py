"""How each role is put together; the only place where concrete parts meet.

What is large and of some roles only, the cloud's SDK and Faust, is imported by these: it is half of a sink's memory.
"""

import gc
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from types import MappingProxyType
from uuid import uuid4

from cli.groups import groups_at_work
from cli.overview import OldestListing, Overview
from producers.assignment import AssignmentPolicy
from producers.audits import RecordingAudit, TaskAudits
from producers.expander import Expander
from producers.poll_store import PollStore
from producers.poller import Poller
from producers.recorder import GROUP as RECORD_GROUP
from producers.recorder import Recorder
from producers.requests import GROUP as POLL_GROUP
from producers.requests import RequestLoop, Route, TaskRequests, route
from producers.starter import GROUP as START_GROUP
from producers.starter import Starter
from producers.task_store import TaskStore
from runtime.clock import SystemClock
from runtime.dead_letters import DeadLetterOffice
from runtime.kafka import Publisher, make_consumer
from runtime.lag_meter import LagMeter
from runtime.monitor import Monitor
from runtime.postgres import Database
from runtime.service import Check, Page, Service
from runtime.settings import Settings
from schemas.topics import ALL, START_REQUESTED
from sinks.batches import BatchPolicy
from sinks.loop import GROUP as SINK_GROUP
from sinks.loop import Sink
from sinks.writer import Writer

SEND_TIMEOUT_MS = 20_000
LETTER_TIMEOUT_MS = 5_000
CONNECT_SECONDS = 5.0
JOIN_SECONDS = 10.0
IDLE_SECONDS = 1.0
GC_THRESHOLD = 50_000  # the default, 700, looks at the records of a batch again and again for garbage that is not there
SWITCH_SECONDS = 0.0005  # the default, 5 ms, lets the database wait that long for a thread that gets its answer


def run_sink(settings: Settings) -> None:
    """Write what the topics say into PostgreSQL until a signal comes."""
    _tune_for_throughput()
    with ExitStack() as stack:
        database = _database(settings, "sink", stack, is_steady=True)
        publisher = _publisher(settings, stack, **{"message.timeout.ms": LETTER_TIMEOUT_MS})
        checks: dict[str, Check] = {"database": database.ping, "kafka": publisher.ping}
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


def run_start(settings: Settings) -> None:
    """Have the leads of started tasks called until a signal comes."""
    from producers.cloud.client import CloudClient  # noqa: PLC0415 - large, and not of every role

    with ExitStack() as stack:
        database = _database(settings, "start", stack)
        publisher = _publisher(settings, stack)
        cloud = CloudClient(settings.cloud)
        timeout = settings.cloud.timeout_seconds
        starter = Starter(
            store=TaskStore(database, worker=str(uuid4())),
            cloud=cloud,
            publisher=publisher,
            policy=AssignmentPolicy(
                call_timeout=timedelta(seconds=timeout + min(timeout, CONNECT_SECONDS)),
                settle=timedelta(seconds=settings.core.assign_settle_seconds),
            ),
            settings=settings.cloud,
            clock=SystemClock(),
        )
        routes = [route(START_REQUESTED, lambda event, _origin: starter.request(event))]
        checks: dict[str, Check] = {"database": database.ping, "kafka": publisher.ping, "cloud": cloud.is_let_in}
        with _requests(settings, START_GROUP, routes, checks, publisher) as service:
            starter.run(service)


def run_poll(settings: Settings) -> None:
    """Publish what the cloud knows of open calls, and take requests to look or to analyse, until a signal comes."""
    from producers.cloud.client import CloudClient  # noqa: PLC0415 - large, and not of every role

    with ExitStack() as stack:
        database = _database(settings, "poll", stack, max_size=8)
        publisher = _publisher(settings, stack)
        clock = SystemClock()
        office = DeadLetterOffice(publisher, POLL_GROUP)
        store = PollStore(database)
        cloud = CloudClient(settings.cloud)
        poller = Poller(store, cloud, publisher, office, settings, clock)
        expander = Expander(database, publisher, clock)
        collect_less()
        audits = TaskAudits(database, expander, timedelta(seconds=settings.core.poll_max_seconds))
        routes = TaskRequests(store, expander, publisher, clock).routes()
        checks: dict[str, Check] = {"database": database.ping, "kafka": publisher.ping, "cloud": cloud.is_let_in}
        service = stack.enter_context(_requests(settings, POLL_GROUP, routes, checks, publisher))
        stack.enter_context(_beside(service, "audit", lambda: audits.run(service)))
        poller.run(service)


def run_record(settings: Settings) -> None:
    """Publish the recordings of answered calls until a signal comes; does nothing where recordings are off."""
    with ExitStack() as stack:
        database = _database(settings, "record", stack)
        publisher = _publisher(settings, stack)
        checks: dict[str, Check] = {"database": database.ping, "kafka": publisher.ping}
        service = _service(settings, "record", checks)
        if not settings.core.recordings_enabled:
            with service:
                while not service.wait(IDLE_SECONDS):
                    service.health.beat()
            return
        from producers.cloud.client import CloudClient  # noqa: PLC0415 - large, and not of every role

        cloud = CloudClient(settings.cloud.model_copy(update={"max_qps": settings.core.recordings_max_qps}))
        recorder = Recorder(
            consumer=make_consumer(settings, RECORD_GROUP),
            cloud=cloud,
            unrecorded=RecordingAudit(database),
            publisher=publisher,
            office=DeadLetterOffice(publisher, RECORD_GROUP),
            service=service,
            clock=SystemClock(),
        )
        checks |= {"assigned": recorder.is_assigned, "cloud": cloud.is_let_in}
        with service:
            recorder.run()


def run_changes(settings: Settings) -> None:
    """Turn pages into status changes until a signal comes."""
    from streams import worker  # noqa: PLC0415 - Faust is large, and not of every role

    worker.run_changes(settings)


def run_followups(settings: Settings) -> None:
    """Turn ended calls into follow-up records until a signal comes."""
    from streams import worker  # noqa: PLC0415 - Faust is large, and not of every role

    worker.run_followups(settings)


def run_monitor(settings: Settings) -> None:
    """Publish lag, and show the page, until a signal comes."""
    with ExitStack() as stack:
        database = _database(settings, "monitor", stack, max_size=2)
        clock, listing = SystemClock(), OldestListing(database)
        letters, topics = [topic.dead_letters for topic in ALL], [topic.name for topic in ALL]
        meter = LagMeter(settings.kafka, groups_at_work(settings))
        monitor = Monitor(meter, letters, topics, clock)
        overview = Overview(database, monitor, listing, clock)
        checks = {"kafka": meter.ping, "database": database.ping, "measured": monitor.has_measured}
        service = stack.enter_context(_service(settings, "monitor", checks, overview.pages()))
        stack.enter_context(_beside(service, "listing", lambda: listing.run(service)))
        monitor.run(service)


ROLES: dict[str, Callable[[Settings], None]] = {
    "poll": run_poll,
    "start": run_start,
    "record": run_record,
    "sink": run_sink,
    "changes": run_changes,
    "followups": run_followups,
    "monitor": run_monitor,
}


def collect_less() -> None:
    """Set the interpreter up for many objects at once, none in a cycle."""
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)


def _tune_for_throughput() -> None:
    """Set the interpreter up for a loop that makes many objects beside a thread that mostly waits."""
    collect_less()
    sys.setswitchinterval(SWITCH_SECONDS)


@contextmanager
def _requests(
    settings: Settings, group: str, routes: list[Route], checks: dict[str, Check], publisher: Publisher
) -> Iterator[Service]:
    """Serve a role that also takes requests, in a thread beside its own loop."""
    service = _service(settings, group.removeprefix("callstream-"), checks)
    loop = RequestLoop(
        consumer=make_consumer(settings, group),
        routes=routes,
        office=DeadLetterOffice(publisher, group),
        service=service,
        clock=SystemClock(),
    )
    checks["assigned"] = loop.is_assigned
    with service, _beside(service, "requests", loop.run):
        yield service


@contextmanager
def _beside(service: Service, name: str, work: Callable[[], None]) -> Iterator[None]:
    """Run `work` in a thread for as long as the block; its failure ends the service, and is the block's."""
    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised again below, in the role's own thread
            failures.append(error)
            service.stopping.set()

    thread = threading.Thread(target=guarded, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        service.stopping.set()
        thread.join(JOIN_SECONDS)
    if failures:
        raise failures[0]


def _service(
    settings: Settings, role: str, checks: Mapping[str, Check], pages: Mapping[str, Page] = MappingProxyType({})
) -> Service:
    return Service(role=role, host=settings.core.http_host, port=settings.core.http_port, checks=checks, pages=pages)


def _database(
    settings: Settings, role: str, stack: ExitStack, *, max_size: int = 4, is_steady: bool = False
) -> Database:
    database = Database(settings.dsn, name=role, max_size=max_size, is_steady=is_steady)
    database.open()
    stack.callback(database.close)
    return database


def _publisher(settings: Settings, stack: ExitStack, **overrides: str | float | bool) -> Publisher:
    publisher = Publisher(settings.kafka, **{"message.timeout.ms": SEND_TIMEOUT_MS, **overrides})
    stack.callback(publisher.close)
    return publisher
