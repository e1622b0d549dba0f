"""The agent that detects changes: pages in, events out, one table row per page."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import faust

from runtime import metrics
from runtime.dead_letters import DeadLetter, Origin
from runtime.kafka import Outgoing, outgoing
from runtime.settings import Settings
from schemas.codec import DecodeError, decode
from schemas.jobs import JobsPolled
from schemas.topics import JOBS_POLLED, STATUS_CHANGED
from streams.app import HeldEvent, source
from streams.changes import ChangePolicy, Counts, PageRow, decode_row, detect, encode_row
from streams.intake import Intake
from streams.outbox import Outbox, origin_of
from streams.tables import MAX_ROW_BYTES, PAGES, Rows, RowStore, Write

SOURCE: Final = "changes"
TOO_LARGE: Final = "the row of the page would not fit in its table"


@dataclass(slots=True)
class PageWork:
    """What a batch makes of one page: its row, the events that led to it and the records that follow."""

    partition: int
    row: PageRow
    must_write: bool = False
    sources: list[HeldEvent] = field(default_factory=list)
    records: list[Outgoing] = field(default_factory=list)


class Detector:
    """Works through batches of pages in the order of effects."""

    def __init__(self, rows: RowStore, outbox: Outbox, policy: ChangePolicy, *, topic_prefix: str = "") -> None:
        self._rows = rows
        self._outbox = outbox
        self._policy = policy
        self._events = replace(STATUS_CHANGED, name=topic_prefix + STATUS_CHANGED.name)

    async def work(self, batch: Sequence[HeldEvent]) -> None:
        """Return when every event and every row that the batch led to is acknowledged."""
        pages: dict[bytes, PageWork] = {}
        letters: list[DeadLetter] = []
        counts: list[Counts] = []
        for event in batch:
            try:
                page = decode(event.value, JobsPolled)
            except DecodeError as error:
                letters.append(DeadLetter(origin=origin_of(event), kind="undecodable", reason=str(error)))
            else:
                counts.append(self._detect(pages, event, page))
        encoded = {key: encode_row(work.row) for key, work in pages.items()}
        for key in [key for key, value in encoded.items() if len(value) > MAX_ROW_BYTES]:
            del encoded[key]
            letters += map(_too_large, pages.pop(key).sources)
        await self._outbox.send([record for work in pages.values() for record in work.records], letters)
        await self._rows.write(
            [Write(work.partition, key, encoded[key]) for key, work in pages.items() if work.must_write]
        )
        for key, value in encoded.items():
            self._rows.note(key, value)
        _count(batch, counts)

    def _detect(self, pages: dict[bytes, PageWork], event: HeldEvent, page: JobsPolled) -> Counts:
        key = page.page_id.encode()
        work = pages.get(key)
        if work is None:
            work = pages[key] = PageWork(partition=event.message.partition, row=decode_row(self._rows.get(key)))
        detection = detect(work.row, page, self._policy)
        work.partition = event.message.partition
        work.must_write |= detection.must_write
        work.sources.append(event)
        work.records += [outgoing(self._events, change, source=SOURCE) for change in detection.events]
        return detection.counts


def add_detection(app: faust.App, settings: Settings, outbox: Outbox, *, topic_prefix: str = "") -> None:
    """Give the application its table and its agent."""
    partitions = settings.core.topic_partitions
    detector = Detector(Rows(app, PAGES, partitions), outbox, _policy(settings), topic_prefix=topic_prefix)
    intake = Intake(app, detector.work)
    app.agent(source(app, topic_prefix + JOBS_POLLED.name, partitions=partitions), name="detect")(intake.run)


def _policy(settings: Settings) -> ChangePolicy:
    return ChangePolicy(reassert_ms=int(settings.core.reassert_seconds * 1_000))


def _too_large(event: HeldEvent) -> DeadLetter:
    origin: Origin = origin_of(event)
    return DeadLetter(origin=origin, kind="row_too_large", reason=TOO_LARGE, exception="callstream.RowTooLarge")


def _count(batch: Sequence[HeldEvent], counts: Sequence[Counts]) -> None:
    metrics.CONSUMED.labels(JOBS_POLLED.name).inc(len(batch))
    for outcome in Counts.__slots__:
        number = sum(getattr(count, outcome) for count in counts)
        if number:
            metrics.OBSERVATIONS.labels(outcome).inc(number)
