"""What a look at a task reads from the cloud and publishes: calls of at most 99 ids, pages, and what no page can take.

A call that one id spoils is halved until that id stands alone. Every method raises RetryableError where something is
away and RejectedError where the cloud refuses; what was published before stays published, which costs nothing: the
same look, made again, publishes the same or newer facts.
"""

import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

import orjson

from producers.cloud.errors import UnclearAnswerError
from producers.paging import Absences, OpenRow, SeenJob, pages_of, plan_calls, read_answer
from producers.schedule import Lease
from runtime.dead_letters import UNMAPPED, DeadLetter, DeadLetterOffice, Origin
from runtime.errors import RejectedError
from runtime.kafka import Outgoing, outgoing
from runtime.logs import get_logger
from schemas.ids import CallJobId, PageId
from schemas.topics import JOBS_POLLED, MAX_RECORD_BYTES

SOURCE: Final = "poll"
UNKNOWN_JOB_CODE: Final = "NotExist.Job"
BAD_ID_CODE: Final = "InvalidParameter"
REMEMBERED_LETTERS: Final = 10_000

log = get_logger(__name__)


class StoppedError(Exception):
    """The service stops; the look is given up and made again by whoever is next."""


class Jobs(Protocol):
    """Where jobs are listed."""

    def list_jobs(self, ids: Sequence[CallJobId]) -> Sequence[Mapping[str, Any]]:
        """Return the jobs of at most 99 ids, in any order; raises RetryableError or RejectedError."""
        ...


class Sender(Protocol):
    """What records are published by."""

    def publish(self, records: Iterable[Outgoing]) -> None:
        """Send and wait until all are acknowledged; raises RetryableError or RejectedError."""
        ...


class Listing:
    """Lists and publishes for one poller; safe to share between its threads."""

    def __init__(self, cloud: Jobs, publisher: Sender, office: DeadLetterOffice, absences: Absences) -> None:
        self.stopping = threading.Event()
        self._cloud = cloud
        self._publisher = publisher
        self._office = office
        self._absences = absences
        self._dead_lettered: set[tuple[str, str]] = set()

    def plan(self, lease: Lease, rows: Sequence[OpenRow]) -> list[tuple[OpenRow, ...]]:
        """Return the calls for these rows; jobs that the cloud did not know lately rest, unless a person asks."""
        resting = () if lease.repair_requested else self._absences.resting(rows, lease.observed_at)
        asked = [row for row in rows if row.job_id not in resting]
        return plan_calls(asked, self._absences.suspects(asked))

    def call(self, lease: Lease, rows: Sequence[OpenRow]) -> list[SeenJob]:
        """Make one call and publish what it says; returns what was seen, acknowledged by the broker.

        An answer about nothing but jobs that were missing before may have a shape of its own; it costs no others.
        """
        try:
            jobs = self._fetch_known(rows)
        except UnclearAnswerError:
            if len(self._absences.suspects(rows)) < len(rows):
                raise
            self._absences.put_off(rows, lease.observed_at)
            return []
        answer = read_answer(rows, jobs)
        gone = self._absences.note((job.row for job in answer.seen), answer.missing, lease.observed_at)
        seen = [*answer.seen, *gone]
        self._publish(lease, seen)
        for unmapped in answer.unmapped:
            self._dead_letter(unmapped.page_id, unmapped.job_id, _raw_bytes(unmapped.raw), unmapped.reason)
        return seen

    def _fetch_known(self, rows: Sequence[OpenRow]) -> list[Mapping[str, Any]]:
        """Return the jobs that the cloud knows of `rows`; raises RejectedError where it takes none of several ids.

        One id that it does not take is that job's fault. Where it takes none, something else is wrong, and nobody is
        to be called unknown for it.
        """
        refusals: list[RejectedError] = []
        jobs = self._fetch(rows, refusals)
        is_odd = len(refusals) == len(rows) > len(self._absences.suspects(rows))
        if is_odd and any(not (error.code or "").startswith(UNKNOWN_JOB_CODE) for error in refusals):
            raise refusals[0]
        return jobs

    def _fetch(self, rows: Sequence[OpenRow], refusals: list[RejectedError]) -> list[Mapping[str, Any]]:
        """Return what the cloud knows of `rows`, by halves where one of them spoils the call; notes refusals of one."""
        try:
            return list(self._cloud.list_jobs([row.job_id for row in rows]))
        except RejectedError as error:
            if not (error.code or "").startswith((UNKNOWN_JOB_CODE, BAD_ID_CODE)):
                raise
            if len(rows) == 1:
                refusals.append(error)
                return []
        if self.stopping.is_set():
            raise StoppedError
        middle = len(rows) // 2
        return self._fetch(rows[:middle], refusals) + self._fetch(rows[middle:], refusals)

    def _publish(self, lease: Lease, jobs: Sequence[SeenJob]) -> None:
        records = []
        for page in pages_of(jobs, lease.observed_at, repair=lease.repair_requested):
            record = outgoing(JOBS_POLLED, page, source=SOURCE)
            if record.value is not None and len(record.value) > MAX_RECORD_BYTES:
                self._dead_letter(
                    page.page_id, page.jobs[0].call_job_id, record.value, "the job is too large for a record"
                )
            else:
                records.append(record)
        self._publisher.publish(records)

    def _dead_letter(self, page_id: PageId, job_id: str, value: bytes, reason: str) -> None:
        """Make a dead letter of what no page can take, once per process for the same job and reason."""
        if (job_id, reason) in self._dead_lettered:
            return
        origin = Origin(topic=JOBS_POLLED.name, partition=-1, offset=-1, key=page_id.encode(), value=value)
        exception = "callstream.MappingError"
        try:
            self._office.send([DeadLetter(origin=origin, kind=UNMAPPED, reason=reason, exception=exception)])
        except RejectedError as error:
            log.error("poll.job_lost", call_job_id=job_id, size=len(value), code=error.code)  # noqa: TRY400 - no bug
        if len(self._dead_lettered) < REMEMBERED_LETTERS:
            self._dead_lettered.add((job_id, reason))


def _raw_bytes(raw: object) -> bytes:
    try:
        return orjson.dumps(raw, default=str)
    except TypeError:  # text with lone surrogates, which only the standard library writes
        return json.dumps(raw, default=str).encode()
