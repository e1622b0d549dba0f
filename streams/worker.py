"""Running an application as a process: its loop, its signals, its HTTP pages and its exit status.

Faust's worker owns the event loop and, once it runs, the signals: SIGTERM and SIGINT end it cleanly. A crash ends the
process with status 1 and nothing acknowledged, and whoever supervises the role starts it again.
"""

import asyncio
import gc
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Final

import faust
import uvloop
from confluent_kafka import KafkaException
from faust.worker import Worker

from runtime.clock import SystemClock
from runtime.errors import FatalError
from runtime.kafka import can_reach, make_admin
from runtime.logs import get_logger
from runtime.service import Check, Service
from runtime.settings import Settings
from schemas.topics import JOB_ANALYSIS_REQUESTED, JOBS_POLLED, STATUS_CHANGED
from streams.analysis.protocol import Analyzer
from streams.analysis.rules import RuleAnalyzer
from streams.app import IN_PAGES, Reading, create_app
from streams.changelogs import CHANGES_APP, FOLLOW_UPS, FOLLOW_UPS_APP, PAGES
from streams.detection import add_detection
from streams.emitter import Emitter
from streams.following import MOST_HELD, add_following
from streams.outbox import Outbox
from streams.progress import Progress
from streams.sweep import SWEEP_SECONDS

BEAT_SECONDS: Final = 1.0
DRAIN_SECONDS: Final = 10.0
GC_THRESHOLD: Final = 20_000  # pages are many small objects without cycles; the default costs a tenth
TOPICS_SECONDS: Final = 2.0
# Conversations wait for a model for as long as it is away; without this bound gigabytes of long ones may.
MOST_WAITING_FOR_A_MODEL: Final = 200

Wire = Callable[[faust.App, Outbox], None]

log = get_logger(__name__)


def run_changes(
    settings: Settings,
    *,
    topic_prefix: str = "",
    is_recovery_safe: bool = True,
    sweep_seconds: float = SWEEP_SECONDS,
) -> None:
    """Detect changes until SIGTERM or SIGINT; raises SystemExit with status 1 after a crash."""

    def wire(app: faust.App, outbox: Outbox) -> None:
        clock = SystemClock()
        add_detection(app, settings, outbox, clock, topic_prefix=topic_prefix, sweep_seconds=sweep_seconds)

    topics = _prefixed(topic_prefix, JOBS_POLLED.name, PAGES.name)
    _run(settings, CHANGES_APP, topics, wire, topic_prefix=topic_prefix, is_recovery_safe=is_recovery_safe)


def run_followups(settings: Settings, *, topic_prefix: str = "", is_recovery_safe: bool = True) -> None:
    """Follow up ended calls until SIGTERM or SIGINT; raises SystemExit with status 1 after a crash."""
    analyzer, at_once, checks = _analysis(settings)

    def wire(app: faust.App, outbox: Outbox) -> None:
        add_following(app, settings, outbox, analyzer, SystemClock(), at_once=at_once, topic_prefix=topic_prefix)

    topics = _prefixed(topic_prefix, STATUS_CHANGED.name, JOB_ANALYSIS_REQUESTED.name, FOLLOW_UPS.name)
    _run(
        settings,
        FOLLOW_UPS_APP,
        topics,
        wire,
        topic_prefix=topic_prefix,
        is_recovery_safe=is_recovery_safe,
        checks=checks,
        reading=Reading(is_eager=True, most_waiting=MOST_WAITING_FOR_A_MODEL)
        if settings.analysis.base_url
        else Reading(is_eager=True),
    )


def _analysis(settings: Settings) -> tuple[Analyzer, int, Mapping[str, Check]]:
    """Return who analyses, how many conversations of a partition at once, and what readiness asks of it."""
    if not settings.analysis.base_url:
        return RuleAnalyzer(), MOST_HELD, {}
    from streams.analysis.model import ModelAnalyzer  # noqa: PLC0415 - its library costs a second of every start

    model = ModelAnalyzer(settings.analysis, SystemClock())
    return model, settings.analysis.concurrency, {"analysis": model.is_let_in}


class StreamWorker(Worker):
    """Faust's worker without its logging set-up; the service hears its heart beat."""

    def __init__(self, app: faust.App, service: Service, *, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(app, loop=loop, override_logging=False, quiet=True, redirect_stdouts=False)
        self.spinner = None
        self._service = service

    async def on_start(self) -> None:
        """Beat from the first moment: recovery may take minutes."""
        await super().on_start()
        self.add_future(self._beat())

    def _on_sigterm(self) -> None:
        """End by force where draining takes too long, as without a broker; what is not acknowledged is redone."""
        timer = threading.Timer(DRAIN_SECONDS, os._exit, (0,))
        timer.daemon = True
        timer.start()
        super()._on_sigterm()

    async def _beat(self) -> None:
        while not self.should_stop:
            self._service.health.beat()
            if self._service.stopping.is_set():
                signal.raise_signal(signal.SIGTERM)  # came before Faust's own handlers were there
                return
            await asyncio.sleep(BEAT_SECONDS)


def _run(
    settings: Settings,
    app_id: str,
    topics: Collection[str],
    wire: Wire,
    *,
    topic_prefix: str,
    is_recovery_safe: bool,
    checks: Mapping[str, Check] | None = None,
    reading: Reading = IN_PAGES,
) -> None:
    gc.set_threshold(GC_THRESHOLD)
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    with tempfile.TemporaryDirectory(prefix="callstream-") as folder:
        app = create_app(
            settings,
            app_id=app_id,
            datadir=Path(folder),
            topic_prefix=topic_prefix,
            is_recovery_safe=is_recovery_safe,
            reading=reading,
        )
        emitter = Emitter(settings.kafka)
        wire(app, Outbox(emitter, topic_prefix + app_id))
        core = settings.core
        admin = make_admin(settings.kafka)
        progress = Progress(settings.kafka, topic_prefix + app_id, lambda: _sources(app), SystemClock())
        all_checks = {
            "recovered": lambda: _is_recovered(app),
            "kafka": lambda: can_reach(admin),
            "progress": progress.is_made,
            **(checks or {}),
        }
        with Service(role=app_id, host=core.http_host, port=core.http_port, checks=all_checks) as service:
            if _await_topics(settings, topics, service):
                gc.freeze()  # what is loaded by now stays: no collection need look at it
                _execute(StreamWorker(app, service, loop=loop))
        emitter.close()


def _execute(worker: StreamWorker) -> None:
    try:
        worker.execute_from_commandline()
    except SystemExit as end:
        if end.code:
            raise


def _is_recovered(app: faust.App) -> bool:
    """Return whether partitions, or none, were assigned and their tables are complete."""
    return app.rebalancing_count > 0 and not app.rebalancing


def _sources(app: faust.App) -> set[tuple[str, int]]:
    """Return the partitions, changelogs left out, that this worker takes records from at the moment.

    The assignor is asked only when there is one: Faust makes it on first use, and not for two threads.
    """
    if not _is_recovered(app):
        return set()
    changelogs = app.tables.changelog_topics
    return {
        (place.topic, place.partition) for place in app.assignor.assigned_actives() if place.topic not in changelogs
    }


def _await_topics(settings: Settings, topics: Collection[str], service: Service) -> bool:
    """Wait until all topics exist, because Faust would leave out a missing changelog; False when told to stop.

    Raises FatalError where a changelog's partitions are not its source's.
    """
    admin = make_admin(settings.kafka)
    while not service.stopping.is_set():
        service.health.beat()
        try:
            known = admin.list_topics(timeout=TOPICS_SECONDS).topics
        except KafkaException as error:
            log.warning("kafka.away", error=error.args[0].name())
            service.wait(TOPICS_SECONDS)
            continue
        missing = [topic for topic in topics if topic not in known or known[topic].error]
        if not missing:
            counts = {topic: len(known[topic].partitions) for topic in topics}
            if len(set(counts.values())) > 1:
                raise FatalError(f"these topics need as many partitions as each other: {counts}")
            return True
        log.warning("topics.missing", topics=missing)
        service.wait(TOPICS_SECONDS)
    return False


def _prefixed(prefix: str, *names: str) -> tuple[str, ...]:
    return tuple(prefix + name for name in names)
