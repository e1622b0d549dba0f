"""Follow-up records, decided without I/O: what an event asks of a job's entry, and what an analysis makes of it.

The owner of a job's key sees all its events in order, so it alone gives out versions. One conversation is analysed
once, unless a person asks again, or the audit does where no analyzer could be reached. Older words are never analysed
after newer ones, whoever asks and in whatever order requests are read again: only the owner knows that they are older.
What a person asked for is not overwritten by a repeat of the same conversation.
"""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

import msgspec

from schemas.followups import FollowedUp, Interest, JobAnalysisRequested
from schemas.ids import MAX_VERSION, CallJobId, EventId, TaskId, event_id_for, follow_up_id_for
from schemas.instants import from_milliseconds, to_milliseconds
from schemas.jobs import StatusChanged, Turn
from schemas.topics import FOLLOWED_UP
from streams.analysis.protocol import Verdict, is_answer, is_owed

FOLLOWED_STATUSES: Final = frozenset({"Succeeded", "Failed"})
REMEMBERED_REQUESTS: Final = 8

_pack: Final = msgspec.msgpack.Encoder().encode


class Entry(msgspec.Struct, array_like=True, frozen=True):
    """What is held of one job: the status and conversation taken last, and its record as it was emitted.

    `requests` are the events of the forced requests answered last; `analyzed_at` is in milliseconds.
    """

    version: int
    status_version: int
    digest: bytes
    is_forced: bool
    is_interested: Interest
    summary: str
    analyzer: str
    analyzed_at: int
    requests: tuple[EventId, ...] = ()


_entry_decoder: Final = msgspec.msgpack.Decoder(Entry)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One event, whichever topic it came by, as a wish for a follow-up record; `asked_at` is in milliseconds."""

    task_id: TaskId
    call_job_id: CallJobId
    call_status: str
    conversation: tuple[Turn, ...]
    status_version: int
    follow_version: int
    digest: bytes
    request: EventId | None
    asked_at: int
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
            asked_at=0,
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
            asked_at=to_milliseconds(event.requested_at),
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
    if not question.is_forced and question.call_status not in FOLLOWED_STATUSES:
        return Ignore()
    if entry is None:
        return Analyze()
    if question.is_forced:
        return _decide_forced(entry, question)
    if question.digest != entry.digest and question.status_version >= entry.status_version:
        return Analyze()
    return _decide_known(entry, question)


def _decide_forced(entry: Entry, question: Question) -> Decision:
    """Return what is left to do of a person's wish: nothing where it was answered.

    Where newer words were analysed since it was expanded, their record is sent as the answer.
    """
    assert question.request is not None  # noqa: S101 - only requests are forced
    if question.request in entry.requests:
        return Ignore()
    if question.digest == entry.digest or question.status_version >= entry.status_version:
        return Analyze()
    version = min(max(entry.version, question.follow_version) + 1, MAX_VERSION)
    return EmitAgain(
        msgspec.structs.replace(entry, version=version, is_forced=True, requests=_remember(entry, question.request))
    )


def _decide_known(entry: Entry, question: Question) -> Decision:
    """Return what is left to do where the conversation was analysed, or is older than the one that was.

    The audit, which asks without force, misses the record, or an analysis that nobody could make when it was tried
    last. Where the record's version was stored all the same, somebody took it out of the row: then only a newer
    version puts it back.
    """
    if question.request is not None:
        if is_owed(entry.analyzer) and question.asked_at > entry.analyzed_at and question.digest == entry.digest:
            return Analyze()
        version = entry.version if question.follow_version < entry.version else question.follow_version + 1
        version = min(version, MAX_VERSION)
        return EmitAgain(msgspec.structs.replace(entry, version=version))
    if question.status_version > entry.status_version:
        return Remember(msgspec.structs.replace(entry, status_version=question.status_version))
    return Ignore()


def conclude(entry: Entry | None, question: Question, verdict: Verdict, *, now_ms: int) -> Entry:
    """Return the entry after an analysis; its version is greater than any that was given or stored before.

    A verdict that is no answer does not replace what was known of the same words; only `analyzer` says that it failed.
    """
    is_kept = entry is not None and entry.digest == question.digest and not is_answer(verdict.analyzer)
    known = entry if is_kept and entry else verdict
    requests = entry.requests if entry else ()
    if question.is_forced and question.request is not None:
        requests = _remember(entry, question.request)
    return Entry(
        version=min(max(entry.version + 1 if entry else 0, question.follow_version + 1, now_ms), MAX_VERSION),
        status_version=max(entry.status_version if entry else 0, question.status_version),
        digest=question.digest,
        is_forced=question.is_forced,
        is_interested=known.is_interested,
        summary=known.summary,
        analyzer=verdict.analyzer,
        analyzed_at=now_ms,
        requests=requests,
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


def _remember(entry: Entry | None, request: EventId) -> tuple[EventId, ...]:
    return (*(entry.requests if entry else ()), request)[-REMEMBERED_REQUESTS:]


def _digest(conversation: tuple[Turn, ...]) -> bytes:
    return blake2b(_pack(conversation), digest_size=8).digest()
