"""The record role: finds the recordings of answered calls beside the hot path and publishes their URLs.

Many requests wait side by side, a few are asked at a time: a recording may appear late, and one that does must not hold
up the others. Offsets are committed from the lower end of what is settled, so a crash only asks again.
"""

import heapq
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import count
from typing import Final, Protocol
from urllib.parse import parse_qs, urlsplit

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from runtime import metrics
from runtime.clock import Clock
from runtime.dead_letters import DeadLetter, DeadLetterOffice, Origin
from runtime.errors import RejectedError, RetryableError
from runtime.kafka import Publisher, is_data, outgoing
from runtime.logs import get_logger
from runtime.service import Service
from schemas.codec import DecodeError, decode
from schemas.ids import CallTaskId, event_id_for
from schemas.instants import from_milliseconds
from schemas.jobs import JobRecorded, StatusChanged
from schemas.topics import JOB_RECORDED, STATUS_CHANGED

GROUP: Final = "callstream-record"
SOURCE: Final = "record"
WORKERS: Final = 4
WINDOW: Final = 500
IDLE_SECONDS: Final = 0.1
COMMIT_SECONDS: Final = 0.5
DRAIN_SECONDS: Final = 5.0
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
PATIENCE_SECONDS: Final = 1_800.0

Partition = tuple[str, int]
log = get_logger(__name__)


class Recordings(Protocol):
    """Where recordings are asked for."""

    def download_recording(self, call_task_id: CallTaskId) -> str:
        """Return a signed URL; raises RetryableError or, where there is none yet, perhaps RejectedError."""
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


def recorded(event: StatusChanged, call_task_id: CallTaskId, url: str, now: datetime) -> JobRecorded:
    """Return the event of a recording; the same URL's expiry is the same event."""
    expires_at = expiry_of(url)
    until = expires_at.isoformat() if expires_at else ""
    return JobRecorded(
        event_id=event_id_for(JOB_RECORDED.name, event.call_job_id, call_task_id, until),
        call_job_id=event.call_job_id,
        call_task_id=call_task_id,
        recording_url=url,
        recorded_at=now,
        expires_at=expires_at,
    )


def pause_after(attempts: int) -> float:
    """Return how many seconds to wait after so many attempts in vain."""
    return min(FIRST_PAUSE * 2.0 ** min(attempts - 1, 10), LONGEST_PAUSE)


class OffsetWindow:
    """Offsets in hand, by partition in order; what is settled is committed from the lower end only."""

    def __init__(self) -> None:
        self._settled: dict[Partition, dict[int, bool]] = {}

    def __len__(self) -> int:
        return sum(len(offsets) for offsets in self._settled.values())

    def add(self, place: Partition, offset: int) -> None:
        """Take an offset in hand; those of a partition come in ascending order."""
        self._settled.setdefault(place, {})[offset] = False

    def settle(self, place: Partition, offset: int) -> None:
        """Note that nothing more is to be done for an offset; of a partition that was given away it means nothing."""
        if offset in self._settled.get(place, {}):
            self._settled[place][offset] = True

    def take_committable(self) -> list[TopicPartition]:
        """Return, and let go of, what is settled with nothing unsettled below it."""
        places = []
        for (topic, partition), offsets in self._settled.items():
            last = None
            for offset in list(offsets):
                if not offsets[offset]:
                    break
                last = offset
                del offsets[offset]
            if last is not None:
                places.append(TopicPartition(topic, partition, last + 1))
        return places

    def forget(self, places: Iterable[Partition]) -> None:
        """Let partitions go that were given to somebody else."""
        for place in places:
            self._settled.pop(place, None)


@dataclass(kw_only=True)
class _Errand:
    """What is to be done for one record, and how often it was tried in vain."""

    origin: Origin
    act: Callable[[], None]
    since: float
    attempts: int = 0

    @property
    def place(self) -> Partition:
        return self.origin.topic, self.origin.partition


@dataclass(order=True)
class _Waiting:
    due_at: float
    number: int
    errand: _Errand = field(compare=False)


class Recorder:
    """Consumes status events; `run` returns when the service stops."""

    def __init__(
        self,
        *,
        consumer: Consumer,
        cloud: Recordings,
        publisher: Publisher,
        office: DeadLetterOffice,
        service: Service,
        clock: Clock,
    ) -> None:
        self._consumer = consumer
        self._cloud = cloud
        self._publisher = publisher
        self._office = office
        self._service = service
        self._clock = clock
        self._executor = ThreadPoolExecutor(WORKERS, thread_name_prefix="record")
        self._window = OffsetWindow()
        self._flying: dict[Future[None], _Errand] = {}
        self._waiting: list[_Waiting] = []
        self._numbers = count()
        self._committed_at = clock.monotonic()
        self._is_paused = False
        self._is_assigned = False

    def is_assigned(self) -> bool:
        """Return whether the group has given this recorder its share, which may be empty."""
        return self._is_assigned

    def run(self) -> None:
        """Work until the service stops; what is in hand gets some seconds, the rest is asked for again next time."""
        self._consumer.subscribe(
            [STATUS_CHANGED.name], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )
        try:
            while not self._service.stopping.is_set():
                self._service.health.beat()
                self._turn()
            wait(self._flying, DRAIN_SECONDS)
            self._land()
            self._commit()
        finally:
            self._service.stopping.set()
            self._consumer.close()
            self._executor.shutdown(wait=False, cancel_futures=True)

    def _turn(self) -> None:
        self._land()
        self._launch()
        if self._clock.monotonic() - self._committed_at >= COMMIT_SECONDS:
            self._commit()
        self._regulate()
        for message in self._consumer.consume(max(1, min(100, WINDOW - len(self._window))), IDLE_SECONDS):
            if is_data(message):
                self._take(message)

    def _take(self, message: Message) -> None:
        origin = Origin.of(message)
        metrics.CONSUMED.labels(origin.topic).inc()
        self._window.add((origin.topic, origin.partition), origin.offset)
        try:
            event = decode(origin.value, StatusChanged)
        except DecodeError as error:
            self._send(origin, partial(self._bury, origin, "undecodable", str(error)))
            return
        if wants_recording(event) and event.call_task_id is not None:
            self._send(origin, partial(self._fetch, event, event.call_task_id))
        else:
            self._window.settle((origin.topic, origin.partition), origin.offset)

    def _send(self, origin: Origin, act: Callable[[], None]) -> None:
        self._put_off(_Errand(origin=origin, act=act, since=self._clock.monotonic()), 0.0)

    def _put_off(self, errand: _Errand, seconds: float) -> None:
        due_at = self._clock.monotonic() + seconds
        heapq.heappush(self._waiting, _Waiting(due_at, next(self._numbers), errand))

    def _launch(self) -> None:
        now = self._clock.monotonic()
        while self._waiting and self._waiting[0].due_at <= now and len(self._flying) < WORKERS:
            errand = heapq.heappop(self._waiting).errand
            self._flying[self._executor.submit(errand.act)] = errand

    def _land(self) -> None:
        for future in [future for future in self._flying if future.done()]:
            errand = self._flying.pop(future)
            error = future.exception()
            if error is None:
                self._window.settle(errand.place, errand.origin.offset)
            elif isinstance(error, RetryableError | RejectedError):
                self._reconsider(errand, error)
            else:
                raise error

    def _reconsider(self, errand: _Errand, error: RetryableError | RejectedError) -> None:
        """Try again later; what is refused for half an hour has no recording and becomes a dead letter."""
        errand.attempts += 1
        if isinstance(error, RejectedError) and self._clock.monotonic() - errand.since > PATIENCE_SECONDS:
            log.warning("recording.given_up", attempts=errand.attempts, code=error.code)
            self._send(errand.origin, partial(self._bury, errand.origin, "no_recording", str(error)))
        else:
            self._put_off(errand, max(pause_after(errand.attempts), getattr(error, "retry_after", None) or 0.0))

    def _fetch(self, event: StatusChanged, call_task_id: CallTaskId) -> None:
        url = self._cloud.download_recording(call_task_id)
        found = recorded(event, call_task_id, url, self._clock.now())
        self._publisher.publish([outgoing(JOB_RECORDED, found, source=SOURCE)])

    def _bury(self, origin: Origin, kind: str, reason: str) -> None:
        self._office.send([DeadLetter(origin=origin, kind=kind, reason=reason)])

    def _commit(self) -> None:
        self._committed_at = self._clock.monotonic()
        offsets = self._window.take_committable()
        if not offsets:
            return
        try:
            self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:  # they will be asked for again, or committed by the next one above them
            log.warning("recording.commit_failed", error=error.args[0].name())

    def _regulate(self) -> None:
        """Pause where too much is in hand, and let flow again where it is not."""
        is_full = len(self._window) >= WINDOW
        if is_full != self._is_paused:
            self._is_paused = is_full
            change = self._consumer.pause if is_full else self._consumer.resume
            change(self._consumer.assignment())

    def _on_assign(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        self._is_assigned = True
        consumer.incremental_assign(list(partitions))
        if self._is_paused:
            consumer.pause(list(partitions))

    def _on_revoke(self, _consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        self._land()
        self._commit()
        self._forget(partitions)

    def _on_lost(self, _consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        self._forget(partitions)

    def _forget(self, partitions: Sequence[TopicPartition]) -> None:
        gone = {(place.topic, place.partition) for place in partitions}
        self._window.forget(gone)
        self._waiting = [waiting for waiting in self._waiting if waiting.errand.place not in gone]
        heapq.heapify(self._waiting)
