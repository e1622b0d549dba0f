"""The agent that follows up ended calls: statuses and requests in, records out, one table row per job."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, assert_never

import faust

from runtime import metrics
from runtime.clock import Clock
from runtime.dead_letters import DeadLetter
from runtime.kafka import Outgoing, outgoing
from runtime.settings import Settings
from schemas.codec import DecodeError, decode
from schemas.followups import CANNOT_TELL, JobAnalysisRequested
from schemas.instants import to_milliseconds
from schemas.jobs import StatusChanged
from schemas.topics import FOLLOWED_UP, JOB_ANALYSIS_REQUESTED, STATUS_CHANGED
from streams.analysis.protocol import Analyzer, Verdict
from streams.app import HeldEvent, source
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
from streams.intake import Intake
from streams.outbox import Outbox, origin_of
from streams.tables import FOLLOW_UPS, Rows, RowStore, Write

SOURCE: Final = "followups"
SILENCE: Final = Verdict(
    is_interested=CANNOT_TELL, summary="There was no conversation.", reason="the call has no conversation"
)


@dataclass(slots=True)
class JobWork:
    """What a batch asks about one job, and what came of it."""

    partition: int
    entry: Entry | None
    questions: list[Question] = field(default_factory=list)
    records: list[Outgoing] = field(default_factory=list)
    must_write: bool = False


class Follower:
    """Works through batches of statuses and requests in the order of effects."""

    def __init__(
        self, rows: RowStore, outbox: Outbox, analyzer: Analyzer, clock: Clock, *, topic_prefix: str = ""
    ) -> None:
        self._rows = rows
        self._outbox = outbox
        self._analyzer = analyzer
        self._clock = clock
        self._requests = topic_prefix + JOB_ANALYSIS_REQUESTED.name
        self._records = replace(FOLLOWED_UP, name=topic_prefix + FOLLOWED_UP.name)

    async def work(self, batch: Sequence[HeldEvent]) -> None:
        """Return when every record and every row that the batch led to is acknowledged."""
        jobs: dict[bytes, JobWork] = {}
        letters: list[DeadLetter] = []
        consumed: dict[str, int] = defaultdict(int)
        for event in batch:
            consumed[event.message.topic] += 1
            try:
                question = self._question(event)
            except DecodeError as error:
                letters.append(DeadLetter(origin=origin_of(event), kind="undecodable", reason=str(error)))
            else:
                if question is not None:
                    self._ask(jobs, event, question)
        await asyncio.gather(*(self._answer(work) for work in jobs.values()))
        await self._outbox.send([record for work in jobs.values() for record in work.records], letters)
        await self._rows.write(
            [
                Write(work.partition, key, encode_entry(work.entry))
                for key, work in jobs.items()
                if work.must_write and work.entry
            ]
        )
        for topic, count in consumed.items():
            metrics.CONSUMED.labels(topic).inc(count)

    def _question(self, event: HeldEvent) -> Question | None:
        """Return what an event asks, None for a status that ends no call; raises DecodeError."""
        if event.message.topic == self._requests:
            return Question.from_request(decode(event.value, JobAnalysisRequested))
        status = decode(event.value, StatusChanged)
        return Question.from_status(status) if status.is_terminal else None

    def _ask(self, jobs: dict[bytes, JobWork], event: HeldEvent, question: Question) -> None:
        key = question.call_job_id.encode()
        work = jobs.get(key)
        if work is None:
            work = jobs[key] = JobWork(event.message.partition, decode_entry(self._rows.get(key)))
        work.questions.append(question)

    async def _answer(self, work: JobWork) -> None:
        for question in work.questions:
            decision = decide(work.entry, question)
            match decision:
                case Ignore():
                    continue
                case Remember():
                    work.entry, work.must_write = decision.entry, True
                    continue
                case EmitAgain():
                    work.must_write |= decision.entry != work.entry
                    work.entry = decision.entry
                    record = record_of(decision.entry, question)
                case Analyze():
                    work.entry, work.must_write = await self._analyze(work.entry, question), True
                    record = record_of(work.entry, question)
                    metrics.FOLLOW_UPS.labels(str(record.is_interested), str(record.is_forced).lower()).inc()
                case _:
                    assert_never(decision)
            work.records.append(outgoing(self._records, record, source=SOURCE))

    async def _analyze(self, entry: Entry | None, question: Question) -> Entry:
        verdict = await self._analyzer.analyze(question.conversation) if question.conversation else SILENCE
        now_ms = to_milliseconds(self._clock.now())
        return conclude(entry, question, verdict, analyzer=self._analyzer.name, now_ms=now_ms)


def add_following(
    app: faust.App,
    settings: Settings,
    outbox: Outbox,
    analyzer: Analyzer,
    clock: Clock,
    *,
    topic_prefix: str = "",
) -> None:
    """Give the application its table and its agent."""
    partitions = settings.core.topic_partitions
    rows = Rows(app, FOLLOW_UPS, partitions)
    follower = Follower(rows, outbox, analyzer, clock, topic_prefix=topic_prefix)
    names = [topic_prefix + topic.name for topic in (STATUS_CHANGED, JOB_ANALYSIS_REQUESTED)]
    intake = Intake(app, follower.work)
    app.agent(source(app, *names, partitions=partitions), name="follow")(intake.run)
