"""The agent that detects changes: pages in, events out, one table row per page."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import faust

from runtime import metrics
from runtime.clock import Clock
from runtime.dead_letters import DeadLetter, Origin
from runtime.kafka import Outgoing, outgoing
from runtime.settings import Settings
from schemas.codec import DecodeError
from schemas.instants import EPOCH
from schemas.topics import JOBS_POLLED, STATUS_CHANGED
from streams.app import HeldEvent, source
from streams.changelogs import PAGES
from streams.changes import ChangePolicy, Counts, PageRow, decode_row, encode_row, keep
from streams.intake import Intake
from streams.outbox import Outbox, origin_of
from streams.pages import observe, open_page
from streams.sweep import SWEEP_SECONDS, Sweeper
from streams.tables import MAX_ROW_BYTES, Rows, RowStore, Write

SOURCE: Final = "changes"
FUTURE: Final = timedelta(days=1)
TOO_LARGE: Final = "the row of the page would not fit in its table"


@dataclass(slots=True)
class PageWork:
    """What a batch makes of one page: its row, the events that led to it and the records that follow."""

    partition: int
    row: PageRow
    must_write: bool = False
    sources: list[HeldEvent] = field(default_factory=list)
    records: list[Outgoing] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Effects:
    """What follows from a batch of pages."""

    records: Sequence[Outgoing]
    letters: Sequence[DeadLetter]
    writes: Sequence[Write]


class Detector:
    """Decides on batches of pages, and brings what follows about in the order of effects."""

    def __init__(
        self, rows: RowStore, outbox: Outbox, policy: ChangePolicy, clock: Clock, *, topic_prefix: str = ""
    ) -> None:
        self._rows = rows
        self._outbox = outbox
        self._policy = policy
        self._clock = clock
        self._events = replace(STATUS_CHANGED, name=topic_prefix + STATUS_CHANGED.name)

    def decide(self, batch: Sequence[HeldEvent]) -> Effects:
        """Return what is to follow from a batch; its rows are held at once, so that the next one is decided on them."""
        pages: dict[bytes, PageWork] = {}
        letters: list[DeadLetter] = []
        counts: list[Counts] = []
        latest = self._clock.now() + FUTURE
        for event in batch:
            try:
                counts.append(self._observe(pages, event, latest))
            except DecodeError as error:
                letters.append(DeadLetter(origin=origin_of(event), kind="undecodable", reason=str(error)))
        records: list[Outgoing] = []
        writes: list[Write] = []
        for key, work in pages.items():
            row = encode_row(work.row)
            if len(row) > MAX_ROW_BYTES:
                letters += map(_too_large, work.sources)
                continue
            write = Write(work.partition, key, row)
            self._rows.hold(write)
            records += work.records
            if work.must_write:
                writes.append(write)
        _count(batch, counts)
        return Effects(records, letters, writes)

    async def settle(self, effects: Effects) -> None:
        """Return when every event, and then every row, is acknowledged."""
        await self._outbox.send(effects.records, effects.letters)
        await self._rows.keep(effects.writes)

    def _observe(self, pages: dict[bytes, PageWork], event: HeldEvent, latest: datetime) -> Counts:
        """Take a page into the work of its key; raises DecodeError where it cannot be used."""
        page = open_page(event.value)
        if not EPOCH <= page.observed_at <= latest:  # later ones would be too old, for as long as this one is ahead
            raise DecodeError("Before 1970 or in the future - at `$.observed_at`")
        key = page.page_id.encode()
        work = pages.get(key) or PageWork(partition=event.message.partition, row=decode_row(self._rows.get(key)))
        detection = observe(work.row, page, self._policy)
        pages[key] = work
        work.partition = event.message.partition
        work.must_write |= detection.must_write
        work.sources.append(event)
        work.records += [outgoing(self._events, change, source=SOURCE) for change in detection.events]
        return detection.counts


def add_detection(
    app: faust.App,
    settings: Settings,
    outbox: Outbox,
    clock: Clock,
    *,
    topic_prefix: str = "",
    sweep_seconds: float = SWEEP_SECONDS,
) -> None:
    """Give the application its table, its agent and its sweep."""
    partitions = settings.core.topic_partitions
    rows = Rows(app, PAGES, partitions, outbox.sender)
    policy = ChangePolicy(reassert_ms=int(settings.core.reassert_seconds * 1_000))
    detector = Detector(rows, outbox, policy, clock, topic_prefix=topic_prefix)
    intake = Intake(app, detector)
    app.agent(source(app, topic_prefix + JOBS_POLLED.name, partitions=partitions), name="detect")(intake.run)
    app.task(Sweeper(app, intake, rows, partial(keep, policy=policy), clock, seconds=sweep_seconds).run)


def _too_large(event: HeldEvent) -> DeadLetter:
    origin: Origin = origin_of(event)
    return DeadLetter(origin=origin, kind="row_too_large", reason=TOO_LARGE, exception="callstream.RowTooLarge")


def _count(batch: Sequence[HeldEvent], counts: Sequence[Counts]) -> None:
    metrics.CONSUMED.labels(JOBS_POLLED.name).inc(len(batch))
    for outcome in Counts.__slots__:
        number = sum(getattr(count, outcome) for count in counts)
        if number:
            metrics.OBSERVATIONS.labels(outcome).inc(number)
