"""From open rows to calls of at most 99 ids, and from the cloud's answers to pages. Pure.

A page is (task, ordinal // 99), given to a row for life. A call takes the ids of several pages so that it is full; its
answer goes back to the pages that the ids came from. A page whose jobs came by two calls, or that would be too large
for a record, is sent in parts under one key and one `observed_at`.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from typing import Final

from producers.cloud.payloads import MappingError, StoredJob, job_snapshot, not_existing
from producers.schedule import EXECUTING
from schemas.codec import encode
from schemas.ids import CallJobId, PageId, TaskId, page_id_for
from schemas.jobs import ENDED_STATUSES, JobSnapshot, JobsPolled

PAGE_SIZE: Final = 99
MAX_PAGE_BYTES: Final = 700_000
LARGEST_CHARACTER: Final = 6  # a control character, escaped
TURN_BYTES: Final = 60  # of a turn but for its texts: names of fields and an instant; each of its two texts counts it
JOB_BYTES: Final = 5_500  # of a job but for its texts: five ids of 128 characters, instants, numbers, names of fields
FORGET_AFTER: Final = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenRow:
    """What the table holds of a job that is to be listed, and the page that it has for life."""

    stored: StoredJob
    page: int

    @property
    def job_id(self) -> CallJobId:
        """The job's id."""
        return self.stored.call_job_id

    @property
    def page_id(self) -> PageId:
        """The key of the job's page."""
        return page_id_for(self.stored.task_id, self.page)


@dataclass(frozen=True, kw_only=True, slots=True)
class SeenJob:
    """A job as the cloud showed it, for the row that asked."""

    row: OpenRow
    snapshot: JobSnapshot

    @property
    def is_moving(self) -> bool:
        """Whether a call runs, or the row shows another status."""
        return self.snapshot.call_status == EXECUTING or self.snapshot.call_status != self.row.stored.call_status

    @property
    def has_just_ended(self) -> bool:
        """Whether the cloud shows an end that the row does not show yet."""
        return self.snapshot.call_status in ENDED_STATUSES and self.row.stored.call_status not in ENDED_STATUSES


@dataclass(frozen=True, kw_only=True, slots=True)
class Unmapped:
    """An entry of an answer that is no job, the page that it belongs to as far as one knows, and why."""

    page_id: PageId
    job_id: str
    raw: object
    reason: str


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one call said: jobs, entries that are none, and the rows without an answer."""

    seen: tuple[SeenJob, ...]
    unmapped: tuple[Unmapped, ...]
    missing: tuple[OpenRow, ...]


@dataclass
class _Absence:
    task_id: TaskId
    since: datetime
    asked_at: datetime


@dataclass
class Absences:
    """Since when the cloud has not known which job; forgetting it, by a restart, only delays the verdict."""

    verdict_after: timedelta
    _of: dict[CallJobId, _Absence] = field(default_factory=dict)

    @property
    def rest(self) -> timedelta:
        """How long a job that was missing is not asked for: each costs calls, some ten until the verdict are enough."""
        return self.verdict_after / 10

    def note(self, seen: Iterable[OpenRow], missing: Iterable[OpenRow], now: datetime) -> list[SeenJob]:
        """Take what a call said; returns the rows that have been missing for so long that they do not exist."""
        for row in seen:
            self._of.pop(row.job_id, None)
        gone = []
        for row in missing:
            absence = self._of.setdefault(row.job_id, _Absence(row.stored.task_id, now, now))
            absence.asked_at = now
            if now - absence.since >= self.verdict_after:
                gone.append(SeenJob(row=row, snapshot=not_existing(row.stored)))
        return gone

    def put_off(self, suspects: Iterable[OpenRow], now: datetime) -> None:
        """Let suspects rest that were asked for in vain; that says nothing of whether they exist."""
        for row in suspects:
            if absence := self._of.get(row.job_id):  # a thread that has just seen it may have forgotten it
                absence.asked_at = now

    def suspects(self, rows: Iterable[OpenRow]) -> frozenset[CallJobId]:
        """Return the jobs of `rows` that were missing when last asked for."""
        return frozenset(row.job_id for row in rows if row.job_id in self._of)

    def resting(self, rows: Iterable[OpenRow], now: datetime) -> frozenset[CallJobId]:
        """Return the suspects that need no asking yet."""
        absences = ((row.job_id, self._of.get(row.job_id)) for row in rows)
        return frozenset(job_id for job_id, absence in absences if absence and now - absence.asked_at < self.rest)

    def doubtful(self, task_id: TaskId) -> list[CallJobId]:
        """Return the suspects of a task."""
        return [job_id for job_id, absence in list(self._of.items()) if absence.task_id == task_id]

    def forget(self, now: datetime) -> None:
        """Drop jobs that nobody has asked for since long: their rows are ended or gone."""
        limit = max(FORGET_AFTER, self.verdict_after)
        for job_id in [job_id for job_id, absence in list(self._of.items()) if now - absence.asked_at > limit]:
            self._of.pop(job_id, None)


def plan_calls(rows: Sequence[OpenRow], suspects: Collection[CallJobId] = ()) -> list[tuple[OpenRow, ...]]:
    """Return the rows in calls of at most 99 ids, page by page; suspects go by themselves and spoil no other call."""
    ordered = sorted(rows, key=lambda row: (row.page, row.job_id))
    healthy = [row for row in ordered if row.job_id not in suspects]
    doubtful = [row for row in ordered if row.job_id in suspects]
    return [*_chunks(healthy), *_chunks(doubtful)]


def read_answer(rows: Sequence[OpenRow], raw_jobs: Iterable[object]) -> Answer:
    """Match an answer with the rows that asked; jobs nobody asked for are ignored, the first of repeats counts.

    An entry that does not say which job it is may be any of the missing ones, so then none is called missing.
    """
    asked = {str(row.job_id): row for row in rows}
    seen: dict[str, SeenJob] = {}
    unmapped: dict[str, Unmapped] = {}
    for raw in raw_jobs:
        job_id = raw.get("JobId") if isinstance(raw, Mapping) else None
        if not isinstance(raw, Mapping) or not isinstance(job_id, str):
            unmapped[""] = Unmapped(page_id=rows[0].page_id, job_id="", raw=raw, reason="JobId is missing")
        elif job_id in asked and job_id not in seen:
            row = asked[job_id]
            try:
                seen[job_id] = SeenJob(row=row, snapshot=job_snapshot(raw, row.stored))
            except MappingError as error:
                unmapped[job_id] = Unmapped(page_id=row.page_id, job_id=job_id, raw=raw, reason=str(error))
    answered = asked.keys() if "" in unmapped else seen.keys() | unmapped.keys()
    missing = tuple(row for job_id, row in asked.items() if job_id not in answered)
    return Answer(seen=tuple(seen.values()), unmapped=tuple(unmapped.values()), missing=missing)


def pages_of(jobs: Iterable[SeenJob], observed_at: datetime, *, repair: bool) -> Iterator[JobsPolled]:
    """Yield the pages of the jobs, none larger than a record may be unless it holds a single job."""
    ordered = sorted(jobs, key=lambda job: (job.row.page, job.row.job_id))
    for page_id, members in groupby(ordered, key=lambda job: job.row.page_id):
        snapshots = tuple(job.snapshot for job in members)
        yield from split_page(JobsPolled(page_id=page_id, observed_at=observed_at, jobs=snapshots, repair=repair))


def split_page(page: JobsPolled, limit: int = MAX_PAGE_BYTES) -> Iterator[JobsPolled]:
    """Yield the page, halved under its own key until each part is within `limit` bytes or holds a single job."""
    if len(page.jobs) <= 1 or _most_bytes(page) <= limit or len(encode(page)) <= limit:
        yield page
        return
    middle = len(page.jobs) // 2
    for jobs in (page.jobs[:middle], page.jobs[middle:]):
        part = JobsPolled(page_id=page.page_id, observed_at=page.observed_at, jobs=jobs, repair=page.repair)
        yield from split_page(part, limit)


def _most_bytes(page: JobsPolled) -> int:
    """Return how large a page can be at most; encoding it only to know would cost as much as sending it."""
    texts = [text for job in page.jobs for turn in job.call_conversation for text in (turn.speaker, turn.script)]
    for job in page.jobs:
        texts += [job.call_status, job.stored_status or "", job.calling_number or "", job.failure_reason or ""]
    return LARGEST_CHARACTER * sum(map(len, texts)) + TURN_BYTES * len(texts) + JOB_BYTES * len(page.jobs)


def _chunks(rows: Sequence[OpenRow]) -> list[tuple[OpenRow, ...]]:
    return [tuple(rows[start : start + PAGE_SIZE]) for start in range(0, len(rows), PAGE_SIZE)]
