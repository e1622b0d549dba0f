"""The agent that follows up ended calls: statuses and requests in, records out, one table row per job.

Analyses run side by side, so many of them as a partition's window allows; whatever was concluded while the last
records and rows were on their way goes out together next. The order of effects is that of every agent: records
acknowledged by the broker, then rows, then the source, from the window's lower end.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final, assert_never

import faust
from prometheus_client import Counter

from runtime import metrics
from runtime.clock import Clock
from runtime.dead_letters import DeadLetter
from runtime.kafka import Outgoing, outgoing
from runtime.logs import get_logger
from runtime.settings import Settings
from schemas.codec import DecodeError, decode
from schemas.followups import JobAnalysisRequested
from schemas.instants import to_milliseconds
from schemas.jobs import StatusChanged
from schemas.topics import FOLLOWED_UP, JOB_ANALYSIS_REQUESTED, STATUS_CHANGED
from streams.analysis.protocol import Analyzer, Verdict
from streams.app import HeldEvent, source
from streams.changelogs import FOLLOW_UPS
from streams.consuming import together
from streams.followups import (
    Analyze,
    EmitAgain,
    Entry,
    Ignore,
    Question,
    Remember,
    conclude,
    decide,
    decode_entry,
    encode_entry,
    record_of,
)
from streams.outbox import Outbox, origin_of
from streams.tables import Rows, RowStore, Write
from streams.window import Place, Window

SOURCE: Final = "followups"
MOST_HELD: Final = 1_000
MOST_HELD_BYTES: Final = 4 * 1_048_576  # of a partition; decoded they take as much again
ENOUGH_SECONDS: Final = 5.0
MOST_TAKEN: Final = 50  # at a time, beside what the windows hold

log = get_logger(__name__)


@dataclass(slots=True, eq=False)
class Work:
    """An event in hand, and what came of it: a record, a row, or the event itself as a dead letter."""

    event: HeldEvent
    question: Question | None = None
    letter: DeadLetter | None = None
    record: Outgoing | None = None
    write: Write | None = None


class Follower:
    """Answers questions one by one, and brings the answers out in the order of effects."""

    def __init__(
        self, rows: RowStore, outbox: Outbox, analyzer: Analyzer, clock: Clock, *, topic_prefix: str = ""
    ) -> None:
        self._rows = rows
        self._outbox = outbox
        self._analyzer = analyzer
        self._clock = clock
        self._requests = topic_prefix + JOB_ANALYSIS_REQUESTED.name
        self._records = replace(FOLLOWED_UP, name=topic_prefix + FOLLOWED_UP.name)

    def read(self, event: HeldEvent) -> Work:
        """Return what is to be done about an event: without question and letter it is nothing."""
        try:
            return Work(event, question=self._question(event))
        except DecodeError as error:
            return Work(event, letter=DeadLetter(origin=origin_of(event), kind="undecodable", reason=str(error)))

    def answer(self, work: Work) -> Coroutine[None, None, None] | None:
        """Fill in record and row, or return what will; nothing else of the same job may be under way."""
        question = work.question
        if question is None:
            return None
        before = decode_entry(self._rows.get(question.call_job_id.encode()))
        decision = decide(before, question)
        match decision:
            case Ignore():
                return None
            case Remember():
                self._write(work, before, decision.entry)
            case EmitAgain():
                self._write(work, before, decision.entry)
                self._record(work, decision.entry)
            case Analyze():
                verdict = self._analyzer.analyze(question.conversation)
                if not isinstance(verdict, Verdict):
                    return self._conclude_later(work, before, verdict)
                self._conclude(work, before, verdict)
            case _:
                assert_never(decision)
        return None

    async def flush(self, works: Sequence[Work]) -> None:
        """Return when every record, letter and row is acknowledged; no two works are of one job."""
        await self._outbox.send(
            [work.record for work in works if work.record], [work.letter for work in works if work.letter]
        )
        writes = [work.write for work in works if work.write]
        await self._rows.keep(writes)
        self._rows.hold(*writes)

    def _question(self, event: HeldEvent) -> Question | None:
        """Return what an event asks, None for a status that ends no call; raises DecodeError."""
        if event.message.topic == self._requests:
            return Question.from_request(decode(event.value, JobAnalysisRequested))
        status = decode(event.value, StatusChanged)
        return Question.from_status(status) if status.is_terminal else None

    async def _conclude_later(self, work: Work, before: Entry | None, verdict: Awaitable[Verdict]) -> None:
        self._conclude(work, before, await verdict)

    def _conclude(self, work: Work, before: Entry | None, verdict: Verdict) -> None:
        question = _asked(work)
        _counter(verdict.is_interested, question.is_forced).inc()
        entry = conclude(before, question, verdict, now_ms=to_milliseconds(self._clock.now()))
        self._write(work, before, entry)
        self._record(work, entry)

    def _write(self, work: Work, before: Entry | None, entry: Entry) -> None:
        if entry != before:
            key = _asked(work).call_job_id.encode()
            work.write = Write(work.event.message.partition, key, encode_entry(entry))

    def _record(self, work: Work, entry: Entry) -> None:
        work.record = outgoing(self._records, record_of(entry, _asked(work)), source=SOURCE)


@cache
def _counter(is_interested: int, is_forced: bool) -> Counter:  # noqa: FBT001 - a pair of labels
    """Return the metric of such analyses; finding it by its labels costs more than counting."""
    return metrics.FOLLOW_UPS.labels(str(is_interested), str(is_forced).lower())


def _asked(work: Work) -> Question:
    assert work.question is not None  # noqa: S101 - only questions are concluded
    return work.question


class WindowedIntake:
    """Feeds one application's follower with as many questions as the windows of its partitions hold."""

    def __init__(self, app: faust.App, follower: Follower, *, at_once: int, most: int = MOST_HELD) -> None:
        self._app = app
        self._follower = follower
        self._at_once = at_once
        self._most = most
        self._windows: dict[int, Window[Work]] = defaultdict(self._new_window)
        self._answering: set[asyncio.Task[None]] = set()
        self._answered: list[tuple[Window[Work], Place[Work]]] = []
        self._has_answers = asyncio.Event()
        self._has_changed = asyncio.Event()
        self._is_finishing = False
        self._is_broken = False
        self._revoked_generation: int | None = None
        app.on_partitions_revoked.connect(self._quiesce)
        app.on_before_shutdown.connect(self._quiesce)

    async def run(self, stream: Any) -> None:
        """Work through `stream` until cancelled; an error in any part crashes the application."""
        flusher = asyncio.create_task(self._guard(self._flush()))
        try:
            await self._guard(self._feed(together(self._app, stream, MOST_TAKEN)))
        finally:
            flusher.cancel()
            self._abandon()

    async def _feed(self, taken: AsyncIterator[Sequence[HeldEvent]]) -> None:
        """Take events into their windows, each as soon as there is room for it."""
        async for events in taken:
            for event in events:
                window = self._windows[event.message.partition]
                while window.is_full:
                    self._has_changed.clear()
                    await self._has_changed.wait()
                    window = self._windows[event.message.partition]
                if event.message.generation_id != self._revoked_generation:
                    self._take(window, event)

    def _take(self, window: Window[Work], event: HeldEvent) -> None:
        metrics.CONSUMED.labels(event.message.topic).inc()
        work = self._follower.read(event)
        size = len(event.value or b"")
        if work.question is not None:
            window.add(work.question.call_job_id, work, size)
        elif work.letter is not None:
            window.add(work, work, size)
        else:
            window.skip(work, size)
        self._go_on(window)

    def _go_on(self, window: Window[Work]) -> None:
        """Acknowledge what may be, and begin what may be."""
        for work in window.take_finished():
            work.event.acknowledge()
            self._has_changed.set()
        if self._is_finishing:
            return
        for place in window.begin():
            asking = self._follower.answer(place.item)
            if asking is None:
                self._take_answer(window, place)
            else:
                task = asyncio.create_task(self._guard(self._ask(window, place, asking)))
                self._answering.add(task)
                task.add_done_callback(self._answering.discard)

    async def _ask(self, window: Window[Work], place: Place[Work], asking: Coroutine[None, None, None]) -> None:
        await asking
        self._take_answer(window, place)

    def _take_answer(self, window: Window[Work], place: Place[Work]) -> None:
        self._answered.append((window, place))
        self._has_answers.set()

    async def _flush(self) -> None:
        """Flush together what was answered while the answers before were on their way."""
        while True:
            await self._has_answers.wait()
            self._has_answers.clear()
            answered, self._answered = self._answered, []
            await self._follower.flush([place.item for _, place in answered])
            for window, place in answered:
                window.finish(place)
            for window in {id(window): window for window, _ in answered}.values():
                if window in self._windows.values():
                    self._go_on(window)
            self._has_changed.set()

    async def _guard(self, work: Coroutine[None, None, None]) -> None:
        """Do a part of the work; its error stops the process with status 1, and this never returns."""
        try:
            await work
        except Exception as error:
            log.exception("follow_up.failed", app=self._app.conf.id)
            self._is_broken = True
            await self._app.crash(error)
            await asyncio.Event().wait()

    async def _quiesce(self, *_: object, **__: object) -> None:
        """Begin nothing more; acknowledge and commit what ends in time, leave the rest to the next owner."""
        self._revoked_generation = self._app.consumer_generation_id
        if self._is_broken or self._app.consumer is None:
            return
        self._is_finishing = True
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(ENOUGH_SECONDS):
                    await self._all_begun_are_done()
        finally:
            self._abandon()
            self._is_finishing = False
        await self._app.consumer.commit()

    async def _all_begun_are_done(self) -> None:
        while any(window.begun for window in self._windows.values()):
            self._has_changed.clear()
            await self._has_changed.wait()

    def _abandon(self) -> None:
        for task in self._answering:
            task.cancel()
        self._answered.clear()
        self._windows.clear()
        self._has_changed.set()

    def _new_window(self) -> Window[Work]:
        return Window(at_once=self._at_once, most=self._most, most_bytes=MOST_HELD_BYTES)


def add_following(
    app: faust.App,
    settings: Settings,
    outbox: Outbox,
    analyzer: Analyzer,
    clock: Clock,
    *,
    at_once: int = MOST_HELD,
    topic_prefix: str = "",
) -> None:
    """Give the application its table and its agent; `at_once` bounds the analyses under way of each partition."""
    partitions = settings.core.topic_partitions
    rows = Rows(app, FOLLOW_UPS, partitions, outbox.sender)
    follower = Follower(rows, outbox, analyzer, clock, topic_prefix=topic_prefix)
    names = [topic_prefix + topic.name for topic in (STATUS_CHANGED, JOB_ANALYSIS_REQUESTED)]
    intake = WindowedIntake(app, follower, at_once=at_once)
    app.agent(source(app, *names, partitions=partitions), name="follow")(intake.run)
