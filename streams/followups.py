"""Follow-up records, decided without I/O: what an event asks of a job's entry, and what an analysis makes of it.

The owner of a job's key sees all its events in order, so it alone gives out versions. One conversation is analysed
once, unless a person asks again; what a person asked for is not overwritten by a repeat of the same conversation.
"""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

import msgspec

from schemas.followups import FollowedUp, Interest, JobAnalysisRequested
from schemas.ids import MAX_VERSION, CallJobId, EventId, TaskId, event_id_for, follow_up_id_for
from schemas.instants import from_milliseconds
from schemas.jobs import StatusChanged, Turn
from schemas.topics import FOLLOWED_UP
from streams.analysis.protocol import Verdict

FOLLOWED_STATUSES: Final = frozenset({"Succeeded", "Failed"})

_pack: Final = msgspec.msgpack.Encoder().encode


class Entry(msgspec.Struct, array_like=True, frozen=True):
    """What is held of one job: the status and conversation taken last, and its record as it was emitted.

    `request` is the event that a forced analysis answered; `analyzed_at` is in milliseconds.
    """

    version: int
    status_version: int
    digest: bytes
    is_forced: bool
    is_interested: Interest
    summary: str
    analyzer: str
    analyzed_at: int
    request: EventId | None = None


_entry_decoder: Final = msgspec.msgpack.Decoder(Entry)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One event, whichever topic it came by, as a wish for a follow-up record."""

    task_id: TaskId
    call_job_id: CallJobId
    call_status: str
    conversation: tuple[Turn, ...]
    status_version: int
    follow_version: int
    digest: bytes
    request: EventId | None
    is_forced: bool

    @classmethod
    def from_status(cls, event: StatusChanged) -> "Question":
        """Return what a status asks by itself."""
        return cls(
            task_id=event.task_id,
            call_job_id=event.call_job_id,
            call_status=event.call_status,
            conversation=event.call_conversation,
            status_version=event.version,
            follow_version=0,
            digest=_digest(event.call_conversation),
            request=None,
            is_forced=False,
        )

    @classmethod
    def from_request(cls, event: JobAnalysisRequested) -> "Question":
        """Return what a person, or the audit of a task, asks."""
        return cls(
            task_id=event.task_id,
            call_job_id=event.call_job_id,
            call_status=event.call_status,
            conversation=event.call_conversation,
            status_version=event.status_version,
            follow_version=event.follow_version,
            digest=_digest(event.call_conversation),
            request=event.event_id,
            is_forced=event.is_forced,
        )


@dataclass(frozen=True, slots=True)
class Ignore:
    """Nothing is to be done."""


@dataclass(frozen=True, slots=True)
class Remember:
    """The entry is to be written, and nothing emitted."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class EmitAgain:
    """The record is to be sent once more, as it was but for its version, which the entry now has."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class Analyze:
    """The conversation is to be analysed, or recorded as having said nothing."""


Decision = Ignore | Remember | EmitAgain | Analyze


def decode_entry(value: bytes | None) -> Entry | None:
    """Return a stored entry, None where there is none, or none that can be read."""
    try:
        return _entry_decoder.decode(value) if value else None
    except msgspec.DecodeError:
        return None


def encode_entry(entry: Entry) -> bytes:
    """Return the entry as it is stored."""
    return _pack(entry)


def decide(entry: Entry | None, question: Question) -> Decision:
    """Return what a question asks of a job's entry."""
    if question.is_forced:
        return Ignore() if entry and entry.request == question.request else Analyze()
    if question.call_status not in FOLLOWED_STATUSES:
        return Ignore()
    if entry is None:
        return Analyze()
    is_known = question.digest == entry.digest or question.status_version < entry.status_version
    return _decide_known(entry, question) if is_known else Analyze()


def _decide_known(entry: Entry, question: Question) -> Decision:
    """Return what is left to do where the conversation was analysed, or is older than the one that was.

    Whoever asks without force misses the record. Where its version was stored all the same, somebody took it out of
    the row: then only a newer version puts it back.
    """
    if question.request is not None:
        version = entry.version if question.follow_version < entry.version else question.follow_version + 1
        version = min(version, MAX_VERSION)
        return EmitAgain(msgspec.structs.replace(entry, version=version))
    if question.status_version > entry.status_version:
        return Remember(msgspec.structs.replace(entry, status_version=question.status_version))
    return Ignore()


def conclude(entry: Entry | None, question: Question, verdict: Verdict, *, analyzer: str, now_ms: int) -> Entry:
    """Return the entry after an analysis; its version is greater than any that was given or stored before."""
    return Entry(
        version=min(max(entry.version + 1 if entry else 0, question.follow_version + 1, now_ms), MAX_VERSION),
        status_version=max(entry.status_version if entry else 0, question.status_version),
        digest=question.digest,
        is_forced=question.is_forced,
        is_interested=verdict.is_interested,
        summary=verdict.summary,
        analyzer=analyzer,
        analyzed_at=now_ms,
        request=question.request if question.is_forced else None,
    )


def record_of(entry: Entry, question: Question) -> FollowedUp:
    """Return the event of an entry; the same entry is the same event."""
    return FollowedUp(
        event_id=event_id_for(FOLLOWED_UP.name, question.call_job_id, entry.version),
        task_id=question.task_id,
        call_job_id=question.call_job_id,
        leads_follow_id=follow_up_id_for(question.call_job_id),
        version=entry.version,
        is_interested=entry.is_interested,
        summary=entry.summary,
        analyzer=entry.analyzer,
        is_forced=entry.is_forced,
        analyzed_at=from_milliseconds(entry.analyzed_at),
    )


def _digest(conversation: tuple[Turn, ...]) -> bytes:
    return blake2b(_pack(conversation), digest_size=8).digest()
