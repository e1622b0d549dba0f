"""Change detection, decided without I/O: a page as it was observed, what is held of its jobs, and what follows.

A job's entry holds the version and the facts of its last emission, the last observation's time and digests of all
compared fields by meaning. Age decides (older observations are dropped), and every decision depends on nothing but
the entry and the page: a replay after a crash makes the same events, with the same ids, as before.
"""

from binascii import crc_hqx
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import repeat
from operator import attrgetter
from struct import Struct
from typing import Annotated, Final

import msgspec

from schemas.ids import MAX_VERSION, CallJobId, Version, event_id_for
from schemas.instants import from_milliseconds, to_milliseconds
from schemas.jobs import ENDED_STATUSES, JobSnapshot, JobsPolled, StatusChanged
from schemas.topics import STATUS_CHANGED

COMPARED: Final = (
    "call_status",
    "planed_time",
    "call_task_id",
    "call_conversation",
    "calling_number",
    "failure_reason",
    "started_at",
    "ended_at",
)
_DAY_MS: Final = 86_400_000
_pack: Final = msgspec.msgpack.Encoder().encode
_compared: Final = attrgetter(*COMPARED)
_name_codes: Final = Struct(f">{len(COMPARED)}H")
_EMPTY: Final = frozenset(map(_pack, (None, "", ())))


class Entry(msgspec.Struct, array_like=True, gc=False):
    """What is held of one job; times are milliseconds, `interval` is until the next re-assertion.

    `digest` decides whether anything differs; `names`, two bytes per compared field, only says what. `seen` and
    `idle_until` belong to `streams.pages`.
    """

    version: Version
    observed_at: int
    emitted_observed_at: int
    asserted_at: int
    interval: int
    status: str
    previous_status: str | None
    digest: bytes
    names: Annotated[bytes, msgspec.Meta(min_length=_name_codes.size, max_length=_name_codes.size)]
    seen: int = 0
    idle_until: int = 0


PageRow = dict[CallJobId, Entry]
"""The table's row of a page: its jobs by id. `detect` updates it in place."""

_row_decoder: Final = msgspec.msgpack.Decoder(PageRow)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangePolicy:
    """How long an unconfirmed event waits before it is sent again, at first and at most, and what is forgotten.

    An ended job is forgotten after longer than a page is retained in its topic, so no page can be news about it.
    """

    reassert_ms: int = 30_000
    reassert_max_ms: int = 3_600_000
    forget_ms: int = 14 * _DAY_MS
    forget_ended_ms: int = 3 * _DAY_MS


@dataclass(slots=True)
class Counts:
    """Observations by what was made of them."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    corrected: int = 0
    reasserted: int = 0
    stale: int = 0


@dataclass(slots=True)
class Detection:
    """What a page led to. `must_write` says that the row has to be written before the page is acknowledged."""

    events: list[StatusChanged] = field(default_factory=list)
    must_write: bool = False
    counts: Counts = field(default_factory=Counts)


def decode_row(value: bytes | None) -> PageRow:
    """Return a stored row, or a new one; a row that cannot be read is rebuilt like a lost one."""
    try:
        return _row_decoder.decode(value) if value else {}
    except msgspec.DecodeError:
        return {}


def encode_row(row: PageRow) -> bytes:
    """Return the row as it is stored."""
    return _pack(row)


def detect(row: PageRow, page: JobsPolled, policy: ChangePolicy) -> Detection:
    """Compare a page with its row, bring the row up to date and say what is to be emitted.

    An unchanged page only moves the times of observation, which need not survive a restart.
    """
    observed_at = to_milliseconds(page.observed_at)
    detection = Detection()
    counts, events = detection.counts, detection.events
    for job in page.jobs:
        entry = row.get(job.call_job_id)
        if entry is None:
            counts.new += 1
            row[job.call_job_id], event = _first_seen(job, observed_at, policy)
            events.append(event)
        elif observed_at < entry.observed_at:
            counts.stale += 1
        elif entry.digest != (digest := _digest(fields := _packed(job))):
            counts.changed += 1
            entry.observed_at = observed_at
            events.append(_changed(entry, job, fields, digest, policy))
        else:
            entry.observed_at = observed_at
            if _is_contradicted(entry, job) or (page.repair and entry.emitted_observed_at < observed_at):
                counts.corrected += 1
                events.append(_corrected(entry, job, policy))
            elif job.stored_version < entry.version and observed_at - entry.asserted_at >= entry.interval:
                counts.reasserted += 1
                events.append(_reasserted(entry, job, policy))
            else:
                counts.unchanged += 1
    if events:
        detection.must_write = True
        forget(row, observed_at, policy)
    return detection


def forget(row: PageRow, now_ms: int, policy: ChangePolicy) -> int:
    """Drop the jobs that were last observed too long ago and return how many; one that comes back is new."""
    seen_lately = now_ms - min(policy.forget_ms, policy.forget_ended_ms)
    old = [(job_id, entry) for job_id, entry in row.items() if entry.observed_at < seen_lately]
    gone = [job_id for job_id, entry in old if now_ms - entry.observed_at > _patience(entry, policy)]
    for job_id in gone:
        del row[job_id]
    return len(gone)


def _patience(entry: Entry, policy: ChangePolicy) -> int:
    return policy.forget_ended_ms if entry.status in ENDED_STATUSES else policy.forget_ms


def keep(value: bytes, now_ms: int, policy: ChangePolicy) -> bytes | None:
    """Return what is to be kept of a stored row; None where it is nothing."""
    row = decode_row(value)
    if not forget(row, now_ms, policy) and row:
        return value
    return encode_row(row) if row else None


def _is_contradicted(entry: Entry, job: JobSnapshot) -> bool:
    """Return whether the database holds what no emission of ours explains."""
    return job.stored_version > entry.version or (
        job.stored_version == entry.version and job.stored_status != entry.status
    )


def _first_seen(job: JobSnapshot, observed_at: int, policy: ChangePolicy) -> tuple[Entry, StatusChanged]:
    fields = _packed(job)
    entry = Entry(
        min(max(job.stored_version + 1, observed_at), MAX_VERSION),
        observed_at,
        observed_at,
        observed_at,
        policy.reassert_ms,
        job.call_status,
        job.stored_status,
        _digest(fields),
        _names(fields),
    )
    return entry, _event(
        entry, job, tuple([name for name, packed in zip(COMPARED, fields, strict=True) if packed not in _EMPTY])
    )


def _changed(entry: Entry, job: JobSnapshot, fields: list[bytes], digest: bytes, policy: ChangePolicy) -> StatusChanged:
    names = _names(fields)
    pairs = zip(COMPARED, _name_codes.unpack(names), _name_codes.unpack(entry.names), strict=True)
    differing = tuple([name for name, new, old in pairs if new != old])
    entry.digest, entry.names = digest, names
    _renew(entry, job, policy)
    # A change whose short digests collide still is no repeat: then any field may be the one.
    return _event(entry, job, differing or COMPARED)


def _corrected(entry: Entry, job: JobSnapshot, policy: ChangePolicy) -> StatusChanged:
    _renew(entry, job, policy)
    return _event(entry, job, ())


def _reasserted(entry: Entry, job: JobSnapshot, policy: ChangePolicy) -> StatusChanged:
    entry.asserted_at = entry.observed_at
    entry.interval = min(entry.interval * 2, policy.reassert_max_ms)
    return _event(entry, job, ())


def _renew(entry: Entry, job: JobSnapshot, policy: ChangePolicy) -> None:
    """Give the entry, observed just now, the next version and the job's status."""
    entry.version = min(max(entry.version + 1, job.stored_version + 1, entry.observed_at), MAX_VERSION)
    entry.emitted_observed_at = entry.asserted_at = entry.observed_at
    entry.interval = policy.reassert_ms
    entry.previous_status, entry.status = entry.status, job.call_status


def _event(entry: Entry, job: JobSnapshot, changed: tuple[str, ...]) -> StatusChanged:
    return StatusChanged(
        event_id=event_id_for(STATUS_CHANGED.name, job.call_job_id, entry.version),
        task_id=job.task_id,
        reference_id=job.reference_id,
        call_job_id=job.call_job_id,
        version=entry.version,
        observed_at=from_milliseconds(entry.emitted_observed_at),
        call_status=job.call_status,
        call_conversation=job.call_conversation,
        changed=changed,
        is_terminal=job.call_status in ENDED_STATUSES,
        previous_status=entry.previous_status,
        planed_time=job.planed_time,
        call_task_id=job.call_task_id,
        calling_number=job.calling_number,
        failure_reason=job.failure_reason,
        started_at=job.started_at,
        ended_at=job.ended_at,
    )


def _packed(job: JobSnapshot) -> list[bytes]:
    """Return each compared field in bytes that differ where the field does, by meaning and not by spelling."""
    return [*map(_pack, _compared(job))]


def _digest(fields: list[bytes]) -> bytes:
    return blake2b(b"".join(fields), digest_size=8).digest()


def _names(fields: list[bytes]) -> bytes:
    return _name_codes.pack(*map(crc_hqx, fields, repeat(0)))
