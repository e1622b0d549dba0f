"""The record role: finds the recordings of answered calls beside the hot path and publishes their URLs.

Many requests wait side by side, a few are asked at a time: a recording may appear late, and one that does must not hold
up the others. What the cloud refuses for a minute is let go; the audit of the table asks for it again, less and less
often, for a day. So what is in hand is bounded, and offsets move on. They are committed from the lower end of what is
finished, so a crash only asks again.
"""

import heapq
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import count
from typing import Final, Protocol
from urllib.parse import parse_qs, urlsplit

from confluent_kafka import Consumer

from runtime.clock import Clock
from runtime.dead_letters import DeadLetter, DeadLetterOffice, Origin
from runtime.errors import RejectedError, RetryableError
from runtime.kafka import Publisher, outgoing
from runtime.logs import get_logger
from runtime.progress import OffsetWindow, Partition
from runtime.service import Service
from runtime.subscription import Subscription
from schemas.codec import DecodeError, decode
from schemas.ids import CallJobId, CallTaskId, event_id_for
from schemas.instants import from_milliseconds
from schemas.jobs import JobRecorded, StatusChanged
from schemas.topics import JOB_RECORDED, STATUS_CHANGED

GROUP: Final = "callstream-record"
SOURCE: Final = "record"
WORKERS: Final = 4
WINDOW: Final = 500
MOST_TAKEN: Final = 100
IDLE_SECONDS: Final = 0.1
DRAIN_SECONDS: Final = 5.0
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
PATIENCE_SECONDS: Final = 60.0
AUDIT_SECONDS: Final = 5.0

log = get_logger(__name__)


class Recordings(Protocol):
    """Where recordings are asked for."""

    def download_recording(self, call_task_id: CallTaskId) -> str:
        """Return a signed URL; raises RetryableError or, where there is none yet, perhaps RejectedError."""
        ...


class Unrecorded(Protocol):
    """Who knows which answered calls still lack their recording."""

    def take(self) -> Sequence[tuple[CallJobId, CallTaskId]]:
        """Return some to ask for now, none between two rounds; raises RetryableError while the database is away."""
        ...


def wants_recording(event: StatusChanged) -> bool:
    """Return whether this event is of an answered call that ended, and not merely more words of one known to have."""
    is_new = not event.changed or not {"call_status", "call_task_id"}.isdisjoint(event.changed)
    return event.is_terminal and event.call_status == "Succeeded" and event.call_task_id is not None and is_new


def expiry_of(url: str) -> datetime | None:
    """Return until when a signed URL can be fetched, None where it does not say."""
    try:
        (seconds,) = parse_qs(urlsplit(url).query)["Expires"]
        return from_milliseconds(int(seconds) * 1000)
    except (KeyError, ValueError, OverflowError):
        return None


def recorded(call_job_id: CallJobId, call_task_id: CallTaskId, url: str, now: datetime) -> JobRecorded:
    """Return the event of a recording; the same URL's expiry is the same event."""
    expires_at = expiry_of(url)
    until = expires_at.isoformat() if expires_at else ""
    return JobRecorded(
        event_id=event_id_for(JOB_RECORDED.name, call_job_id, call_task_id, until),
        call_job_id=call_job_id,
        call_task_id=call_task_id,
        recording_url=url,
        recorded_at=now,
        expires_at=expires_at,
    )


def pause_after(attempts: int) -> float:
    """Return how many seconds to wait after so many attempts in vain."""
    return min(FIRST_PAUSE * 2.0 ** min(attempts - 1, 10), LONGEST_PAUSE)


@dataclass(kw_only=True)
class _Work:
    """What is to be done, for which record if for one, and how often it was tried in vain."""

    origin: Origin | None
    act: Callable[[], None]
    since: float
    attempts: int = 0


@dataclass(order=True)
class _Waiting:
    due_at: float
    number: int
    work: _Work = field(compare=False)


class Recorder:
    """Consumes status events, and asks for what the audit names; `run` returns when the service stops."""

    def __init__(
        self,
        *,
        consumer: Consumer,
        cloud: Recordings,
        unrecorded: Unrecorded,
        publisher: Publisher,
        office: DeadLetterOffice,
        service: Service,
        clock: Clock,
    ) -> None:
        self._subscription = Subscription(
            consumer, [STATUS_CHANGED.name], clock, before_leaving=self._collect, after_leaving=self._forget
        )
        self._cloud = cloud
        self._unrecorded = unrecorded
        self._publisher = publisher
        self._office = office
        self._service = service
        self._clock = clock
        self._executor = ThreadPoolExecutor(WORKERS, thread_name_prefix="record")
        self._auditor = ThreadPoolExecutor(1, thread_name_prefix="audit")
        self._audit: Future[Sequence[tuple[CallJobId, CallTaskId]]] | None = None
        self._window = OffsetWindow()
        self._flying: dict[Future[None], _Work] = {}
        self._waiting: list[_Waiting] = []
        self._numbers = count()
        self._audited_at = clock.monotonic()

    def is_assigned(self) -> bool:
        """Return whether the group has given this recorder its share, which may be empty."""
        return self._subscription.is_assigned()

    def run(self) -> None:
        """Work until the service stops; what is in hand gets some seconds, the rest is asked for again next time."""
        self._subscription.join()
        try:
            while not self._service.stopping.is_set():
                self._service.health.beat()
                self._turn()
            wait(self._flying, DRAIN_SECONDS)
            self._collect()
            self._subscription.commit()
        finally:
            self._service.stopping.set()
            self._subscription.leave()
            self._executor.shutdown(wait=False, cancel_futures=True)
            self._auditor.shutdown(wait=False, cancel_futures=True)

    def _turn(self) -> None:
        self._collect()
        self._launch()
        self._subscription.commit_when_due()
        self._ask_audit()
        room = WINDOW - len(self._window)
        self._subscription.hold_back(is_held=room <= 0)
        for message in self._subscription.take(min(room, MOST_TAKEN), IDLE_SECONDS):
            self._take(Origin.of(message))

    def _take(self, origin: Origin) -> None:
        self._window.add(origin.place, origin.offset)
        try:
            event = decode(origin.value, StatusChanged)
        except DecodeError as error:
            self._send(partial(self._dead_letter, origin, str(error)), origin)
            return
        if wants_recording(event) and event.call_task_id is not None:
            self._send(partial(self._fetch, event.call_job_id, event.call_task_id), origin)
        else:
            self._window.finish(origin.place, origin.offset)

    def _ask_audit(self) -> None:
        """Take what the audit has found, and let it go on while nothing that it found is in hand."""
        if self._audit is not None:
            if not self._audit.done():
                return
            audit, self._audit = self._audit, None
            try:
                for call_job_id, call_task_id in audit.result():
                    self._send(partial(self._fetch, call_job_id, call_task_id))
            except RetryableError as error:
                log.warning("recording.audit_failed", error=str(error))
        if self._clock.monotonic() - self._audited_at < AUDIT_SECONDS:
            return
        self._audited_at = self._clock.monotonic()
        in_hand = [*self._flying.values(), *(waiting.work for waiting in self._waiting)]
        if all(work.origin is not None for work in in_hand):
            self._audit = self._auditor.submit(self._unrecorded.take)

    def _send(self, act: Callable[[], None], origin: Origin | None = None) -> None:
        self._put_off(_Work(origin=origin, act=act, since=self._clock.monotonic()), 0.0)

    def _put_off(self, work: _Work, seconds: float) -> None:
        due_at = self._clock.monotonic() + seconds
        heapq.heappush(self._waiting, _Waiting(due_at, next(self._numbers), work))

    def _launch(self) -> None:
        now = self._clock.monotonic()
        while self._waiting and self._waiting[0].due_at <= now and len(self._flying) < WORKERS:
            work = heapq.heappop(self._waiting).work
            self._flying[self._executor.submit(work.act)] = work

    def _collect(self) -> None:
        for future in [future for future in self._flying if future.done()]:
            work = self._flying.pop(future)
            error = future.exception()
            if error is None:
                self._finish(work)
            elif isinstance(error, RetryableError | RejectedError):
                self._reconsider(work, error)
            else:
                raise error
        self._subscription.done(self._window.take_done())

    def _finish(self, work: _Work) -> None:
        if work.origin is not None:
            self._window.finish(work.origin.place, work.origin.offset)

    def _reconsider(self, work: _Work, error: RetryableError | RejectedError) -> None:
        """Try again later; what is refused for a minute, or was the audit's, is left to the audit's next round."""
        work.attempts += 1
        is_over = work.origin is None or self._clock.monotonic() - work.since > PATIENCE_SECONDS
        if isinstance(error, RejectedError) and is_over:
            log.info("recording.left_to_audit", attempts=work.attempts, code=error.code)
            self._finish(work)
        else:
            self._put_off(work, max(pause_after(work.attempts), getattr(error, "retry_after", None) or 0.0))

    def _fetch(self, call_job_id: CallJobId, call_task_id: CallTaskId) -> None:
        url = self._cloud.download_recording(call_task_id)
        found = recorded(call_job_id, call_task_id, url, self._clock.now())
        self._publisher.publish([outgoing(JOB_RECORDED, found, source=SOURCE)])

    def _dead_letter(self, origin: Origin, reason: str) -> None:
        self._office.send([DeadLetter(origin=origin, kind="undecodable", reason=reason)])

    def _forget(self, gone: frozenset[Partition]) -> None:
        self._window.forget(gone)
        self._waiting = [
            waiting for waiting in self._waiting if waiting.work.origin is None or waiting.work.origin.place not in gone
        ]
        heapq.heapify(self._waiting)
