"""Pages, read no further than needed. Pure.

Most jobs of a page are as they were when last seen, byte for byte, and then nothing follows from them until their next
re-assertion is due. They are known by a digest of their bytes and stay undecoded; the others are decoded, compared by
meaning and decided on in `streams.changes`. Equal bytes save time, different bytes decide nothing.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import msgspec

from schemas.codec import DecodeError, decode, encode, needs_care
from schemas.ids import MAX_VERSION, PageId
from schemas.instants import Instant, to_milliseconds
from schemas.jobs import JobSnapshot, JobsPolled
from streams.changes import ChangePolicy, Detection, PageRow, detect

_FOR_EVER: Final = MAX_VERSION


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A `JobsPolled` whose jobs are left as they came."""

    page_id: PageId
    observed_at: Instant
    jobs: tuple[msgspec.Raw, ...]
    repair: bool = False


class _Jobs(msgspec.Struct, frozen=True, kw_only=True):
    jobs: tuple[JobSnapshot, ...]


_decoder: Final = msgspec.json.Decoder(Page)


def open_page(value: bytes | None) -> Page:
    """Return the page in `value`; raises DecodeError where it is none, whatever its jobs are."""
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        if value is not None and not needs_care(value):
            return _decoder.decode(value)
    return _decoder.decode(encode(decode(value, JobsPolled)))  # says what is wrong, or mends it


def observe(row: PageRow, page: Page, policy: ChangePolicy) -> Detection:
    """Do what `detect` does with all jobs of the page; raises DecodeError for a wrong job, and then nothing is done."""
    observed_at = to_milliseconds(page.observed_at)
    values = [*map(bytes, page.jobs)]
    known = {} if page.repair else {entry.seen: entry for entry in row.values()}
    idle, others, marks = [], [], []
    for value, mark in zip(values, map(hash, values), strict=True):
        entry = known.get(mark)
        if entry is not None and entry.observed_at <= observed_at < entry.idle_until:
            idle.append(entry)
        else:
            others.append(value)
            marks.append(mark)
    jobs = _decode_jobs(others, values) if others else ()
    for entry in idle:
        entry.observed_at = observed_at
    rest = JobsPolled(page_id=page.page_id, observed_at=page.observed_at, jobs=jobs, repair=page.repair)
    detection = detect(row, rest, policy)
    detection.counts.unchanged += len(idle)
    for job, mark in zip(jobs, marks, strict=True):
        entry = row[job.call_job_id]
        if entry.observed_at == observed_at:
            entry.seen = mark
            entry.idle_until = _FOR_EVER if job.stored_version >= entry.version else entry.asserted_at + entry.interval
    return detection


def _decode_jobs(some: Sequence[bytes], all_of_page: Sequence[bytes]) -> tuple[JobSnapshot, ...]:
    """Return some jobs of a page; the error for a wrong one says which of the page it is."""
    try:
        return decode(_listed(some), _Jobs).jobs
    except DecodeError:
        decode(_listed(all_of_page), _Jobs)
        raise


def _listed(jobs: Sequence[bytes]) -> bytes:
    return b'{"jobs":[' + b",".join(jobs) + b"]}"
