"""Requests of people and the CRM: one at a time, the effect first, the offset after.

`RequestLoop` is the consumer of every role that takes requests. A request is handled in a thread of its own while the
loop goes on polling the broker, so neither a long request nor an outage costs the group its member. What cannot be
decoded, or is refused, becomes a dead letter; what fails because something is away is tried again until it works.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec
import psycopg
from confluent_kafka import Consumer

from producers.expander import Expander
from producers.poll_store import PollStore
from runtime.clock import Clock
from runtime.dead_letters import DeadLetter, DeadLetterOffice, Origin
from runtime.errors import RejectedError, RetryableError
from runtime.kafka import Publisher, outgoing
from runtime.logs import get_logger
from runtime.postgres import describe
from runtime.service import Service
from runtime.subscription import Subscription
from schemas.codec import DecodeError, decode
from schemas.ids import RequestId, TaskId, event_id_for
from schemas.tasks import QueryRequested, TaskAnalysisRequested, TaskStateChanged
from schemas.topics import QUERY_REQUESTED, TASK_ANALYSIS_REQUESTED, TASK_STATE_CHANGED, Topic

GROUP: Final = "callstream-poll"
SOURCE: Final = "poll"
IDLE_SECONDS: Final = 0.2
BUSY_SECONDS: Final = 0.05
LONGEST_PAUSE: Final = 5.0
DRAIN_SECONDS: Final = 5.0

E = TypeVar("E", bound=msgspec.Struct)
log = get_logger(__name__)


@dataclass(frozen=True)
class Route:
    """A topic, and what is done with one of its records; made by `route`."""

    topic: str
    take: Callable[[Origin], None]


def route(topic: Topic[E], handle: Callable[[E, Origin], None]) -> Route:
    """Return a route that decodes records of `topic` for `handle`.

    `handle` may be called again for the same record; it raises RetryableError where it is to be, RejectedError where
    the request can never be done.
    """

    def take(origin: Origin) -> None:
        handle(decode(origin.value, topic.event), origin)

    return Route(topic.name, take)


class RequestLoop:
    """Consumes the topics of its routes; `run` returns when the service stops."""

    def __init__(
        self,
        *,
        consumer: Consumer,
        routes: Sequence[Route],
        office: DeadLetterOffice,
        service: Service,
        clock: Clock,
    ) -> None:
        self._subscription = Subscription(consumer, [route.topic for route in routes], clock)
        self._routes = {route.topic: route for route in routes}
        self._office = office
        self._service = service
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="request")
        self._current: tuple[Origin, Future[None]] | None = None

    def is_assigned(self) -> bool:
        """Return whether the group has given this member its share, which may be empty."""
        return self._subscription.is_assigned()

    def run(self) -> None:
        """Take requests until the service stops; one in hand gets some seconds to end."""
        self._subscription.join()
        try:
            while not self._service.stopping.is_set():
                self._turn()
            self._drain()
        finally:
            self._service.stopping.set()
            self._subscription.leave()
            self._executor.shutdown(wait=False, cancel_futures=True)

    def _turn(self) -> None:
        self._complete()
        self._subscription.commit_when_due()
        for message in self._subscription.take(1, BUSY_SECONDS if self._current else IDLE_SECONDS):
            origin = Origin.of(message)
            self._current = origin, self._executor.submit(self._take, origin)
            self._subscription.hold_back(is_held=True)

    def _take(self, origin: Origin) -> None:
        """Do what a record asks until it is done, or dead-lettered; gives up only when the service stops."""
        pause = 0.2
        while True:
            try:
                self._try(origin)
            except RetryableError as error:
                log.warning("request.waiting", topic=origin.topic, error=str(error))
            else:
                return
            if self._service.wait(pause):
                raise RetryableError("the service stops")
            pause = min(pause * 2, LONGEST_PAUSE)

    def _try(self, origin: Origin) -> None:
        try:
            self._routes[origin.topic].take(origin)
        except DecodeError as error:
            self._dead_letter(origin, "undecodable", str(error), "callstream.DecodeError")
        except RejectedError as error:
            self._dead_letter(origin, "refused", str(error), "callstream.RejectedError")
        except psycopg.Error as error:
            self._dead_letter(origin, "refused", describe(error), f"psycopg.errors.{type(error).__name__}")

    def _dead_letter(self, origin: Origin, kind: str, reason: str, exception: str) -> None:
        self._office.send([DeadLetter(origin=origin, kind=kind, reason=reason, exception=exception)])

    def _complete(self) -> None:
        """Commit a request that is done and let the partitions flow again."""
        if self._current is None or not self._current[1].done():
            return
        origin, future = self._current
        self._current = None
        try:
            future.result()
        except RetryableError as error:
            log.warning("request.given_up", topic=origin.topic, error=str(error))
            return
        self._subscription.done({origin.place: origin.offset + 1})
        self._subscription.commit()
        self._subscription.hold_back(is_held=False)

    def _drain(self) -> None:
        if self._current is not None:
            wait([self._current[1]], DRAIN_SECONDS)
            self._complete()


class TaskRequests:
    """What the poll role does for people: look at a task now, have finished calls analysed again."""

    def __init__(self, store: PollStore, expander: Expander, publisher: Publisher, clock: Clock) -> None:
        self._store = store
        self._expander = expander
        self._publisher = publisher
        self._clock = clock

    def routes(self) -> list[Route]:
        """Return the topics that these requests come by."""
        return [route(QUERY_REQUESTED, self.query), route(TASK_ANALYSIS_REQUESTED, self.analyze)]

    def query(self, event: QueryRequested, origin: Origin) -> None:
        """Make the task due at once, with `repair` its follow-ups too; an unknown one is rejected with a sentence."""
        if not self._store.request(event.task_id, repair=bool(event.repair)):
            self._reject(event.task_id, event.request_id, origin, "Neither the task nor a lead of it is known.")
        elif event.repair:
            wanted = TaskAnalysisRequested(
                task_id=event.task_id, request_id=event.request_id, requested_at=event.requested_at
            )
            self._expander.expand(wanted, origin, is_forced=False)

    def analyze(self, event: TaskAnalysisRequested, origin: Origin) -> None:
        """Ask for the analysis of finished calls; a request that names none is rejected with a sentence."""
        if not self._expander.expand(event, origin):
            self._reject(event.task_id, event.request_id, origin, "None of the task's calls that were asked for ended.")

    def _reject(self, task_id: TaskId, request_id: RequestId | None, origin: Origin, reason: str) -> None:
        asked_by = request_id or f"{origin.topic}/{origin.partition}/{origin.offset}"
        event = TaskStateChanged(
            event_id=event_id_for(TASK_STATE_CHANGED.name, task_id, "rejected", asked_by),
            task_id=task_id,
            state="rejected",
            changed_at=self._clock.now(),
            reason=reason,
            request_id=request_id,
        )
        self._publisher.publish([outgoing(TASK_STATE_CHANGED, event, source=SOURCE)])
