"""What people ask of the poll role, over a real Kafka and a real PostgreSQL: done, answered, or dead-lettered."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from devtools.processes import wait_until
from producers.expander import Expander
from producers.poll_store import PollStore
from producers.requests import GROUP, RequestLoop, Route, TaskRequests, route
from runtime.clock import SystemClock
from runtime.dead_letters import DeadLetterOffice, Origin
from runtime.errors import RejectedError, RetryableError
from runtime.kafka import Outgoing, Publisher, make_consumer, outgoing
from runtime.service import Service
from schemas.ids import CallJobId, RequestId, TaskId
from schemas.jobs import Turn
from schemas.tasks import QueryRequested, TaskAnalysisRequested
from schemas.topics import (
    JOB_ANALYSIS_REQUESTED,
    QUERY_REQUESTED,
    TASK_ANALYSIS_REQUESTED,
    TASK_STATE_CHANGED,
)
from tests.fixtures.shells import Rows, lag, running, settings_of
from tests.fixtures.topics import read_events, read_messages, wait_for_events

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
TASK = TaskId("task-1")
CONVERSATION = '[{"speaker": "Robot", "script": "你好", "at": "2026-11-23T08:00:00.000Z"}]'
TURNS = (Turn(speaker="Robot", script="你好", at=NOW),)


class Bench:
    """A database, a broker, and a request loop in a thread."""

    def __init__(self, topics: str, rows: Rows, publisher: Publisher) -> None:
        self.topics = topics
        self.execute = rows.execute
        self.publisher = publisher
        self.expander = Expander(rows.pool, publisher, SystemClock())
        self.routes = TaskRequests(PollStore(rows.pool), self.expander, publisher, SystemClock()).routes()

    def add_row(self, number: int, status: str | None, *, age: int = 0, talk: str | None = CONVERSATION) -> None:
        """A lead's row whose call has that status since `age` seconds."""
        self.execute(
            "insert into leads_task_list (task_id, leads_id, leads_name, leads_phone, reference_id, call_job_id,"
            " call_status, call_conversation, status_version, follow_version, settled_at)"
            " values (%s, %s, 'n', '1', %s, %s, %s, %s, 5, 3, now() - make_interval(secs => %s))",
            *(TASK, f"lead-{number}", f"ref-{number}", f"job-{number}", status, talk, age),
        )

    def query(self, *requests: QueryRequested) -> None:
        """Ask for looks."""
        self.publisher.publish(outgoing(QUERY_REQUESTED, request, source="test") for request in requests)

    def analyze(self, *requests: TaskAnalysisRequested) -> None:
        """Ask for analyses."""
        self.publisher.publish(outgoing(TASK_ANALYSIS_REQUESTED, request, source="test") for request in requests)

    def lag(self, topic: str) -> int:
        """How many records of a topic are not committed."""
        return lag(self.topics, GROUP, topic)

    def wait_for_commit(self, topic: str) -> None:
        """Wait until the group has committed every record of a topic."""
        wait_until(lambda: self.lag(topic) == 0, seconds=30, what=f"{topic} committed")

    @contextmanager
    def loop(self, routes: list[Route] | None = None) -> Iterator[None]:
        """A request loop that runs in a thread."""

        def make(service: Service) -> Callable[[], None]:
            consumer = make_consumer(settings_of(self.topics), GROUP)
            office = DeadLetterOffice(self.publisher, GROUP)
            return RequestLoop(
                consumer=consumer, routes=routes or self.routes, office=office, service=service, clock=SystemClock()
            ).run

        with running("poll", make):
            yield


@pytest.fixture
def bench(topics: str, rows: Rows, publisher: Publisher) -> Bench:
    """Clean topics, an empty migrated database and a producer."""
    return Bench(topics, rows, publisher)


def test_queries_make_tasks_due_and_unknown_tasks_are_rejected(bench: Bench) -> None:
    """A known task is due at once, one of which only leads are known too, and the unknown one gets a sentence."""
    bench.execute("insert into call_tasks (task_id, poll_due_at) values ('known', now() + interval '1 day')")
    bench.add_row(1, None)
    bench.query(
        QueryRequested(task_id=TaskId("known"), repair=True),
        QueryRequested(task_id=TASK),
        QueryRequested(task_id=TaskId("unknown"), request_id=RequestId("request-1")),
    )
    with bench.loop():
        (rejected,) = wait_for_events(bench.topics, TASK_STATE_CHANGED, lambda events: len(events) == 1)
        bench.wait_for_commit(QUERY_REQUESTED.name)
    assert (rejected.task_id, rejected.state, rejected.request_id) == ("unknown", "rejected", "request-1")
    assert rejected.reason
    due = bench.execute("select task_id, repair_requested from call_tasks where poll_due_at <= now() order by 1")
    assert due == [("known", True), (TASK, False)]


def test_an_analysis_request_becomes_one_event_per_finished_job(bench: Bench) -> None:
    """With what the database holds, forced; the same request again makes the same events."""
    bench.add_row(1, "Succeeded")
    bench.add_row(2, "Failed", talk=None)
    bench.add_row(3, "Executing")
    bench.add_row(4, "Cancelled")
    bench.add_row(5, "Succeeded", talk='{"by": "hand"}')
    request = TaskAnalysisRequested(task_id=TASK, request_id=RequestId("request-1"), requested_at=NOW)
    bench.analyze(request, request)
    with bench.loop():
        bench.wait_for_commit(TASK_ANALYSIS_REQUESTED.name)
    events = {event.event_id: event for event in read_events(bench.topics, JOB_ANALYSIS_REQUESTED)}
    assert sorted((event.call_job_id, event.call_conversation) for event in events.values()) == [
        ("job-1", TURNS),
        ("job-2", ()),
    ]
    assert all(event.is_forced and event.request_id == "request-1" for event in events.values())
    assert {(event.status_version, event.follow_version) for event in events.values()} == {(5, 3)}


def test_only_named_jobs_of_the_task_are_analysed(bench: Bench) -> None:
    """A job of another task is not, and a request that finds nothing is answered."""
    bench.add_row(1, "Succeeded")
    bench.add_row(2, "Succeeded")
    bench.analyze(
        TaskAnalysisRequested(task_id=TASK, call_job_ids=(CallJobId("job-2"), CallJobId("stranger"))),
        TaskAnalysisRequested(task_id=TaskId("task-2"), call_job_ids=(CallJobId("job-1"),)),
    )
    with bench.loop():
        (rejected,) = wait_for_events(bench.topics, TASK_STATE_CHANGED, lambda events: len(events) == 1)
        bench.wait_for_commit(TASK_ANALYSIS_REQUESTED.name)
    assert (rejected.task_id, rejected.state) == ("task-2", "rejected")
    (event,) = read_events(bench.topics, JOB_ANALYSIS_REQUESTED)
    assert event.call_job_id == "job-2"


def test_a_thousand_jobs_are_expanded_in_chunks(bench: Bench) -> None:
    """None is left out or asked for twice at the seams."""
    bench.execute(
        "insert into leads_task_list (task_id, leads_id, leads_name, leads_phone, reference_id, call_job_id,"
        " call_status) select %s, 'lead-' || n, 'n', '1', 'ref-' || n, 'job-' || n, 'Failed'"
        " from generate_series(1, 1000) n",
        TASK,
    )
    request = TaskAnalysisRequested(task_id=TASK)
    origin = Origin(topic="requests", partition=0, offset=7, key=None, value=None)
    assert bench.expander.expand(request, origin) == 1000
    events = read_events(bench.topics, JOB_ANALYSIS_REQUESTED)
    assert len(events) == len({event.call_job_id for event in events}) == 1000


def test_what_cannot_be_used_is_a_dead_letter_and_the_next_goes_on(bench: Bench) -> None:
    """Undecodable and refused records are kept byte for byte; the loop takes the next one."""

    def handle(event: QueryRequested, _origin: Origin) -> None:
        if event.task_id == "refused":
            raise RejectedError("never")
        taken.append(event.task_id)

    taken: list[str] = []
    bench.publisher.publish([Outgoing(QUERY_REQUESTED.name, b"task-1", b'{"task_id": 1}', [("a", b"b")])])
    bench.query(QueryRequested(task_id=TaskId("refused")), QueryRequested(task_id=TASK))
    with bench.loop([route(QUERY_REQUESTED, handle)]):
        bench.wait_for_commit(QUERY_REQUESTED.name)
    assert taken == [TASK]
    letters = [Origin.of(message) for message in read_messages(bench.topics, QUERY_REQUESTED.dead_letters)]
    undecodable = next(letter for letter in letters if letter.value == b'{"task_id": 1}')
    assert len(letters) == 2
    assert undecodable.headers[0] == ("a", b"b")
    assert b"$.task_id" in (dict(undecodable.headers)["__connect.errors.exception.message"] or b"")


def test_an_outage_is_waited_out_and_nothing_is_committed_before_the_effect(bench: Bench) -> None:
    """The same request is tried again until it works; only then its offset is committed."""

    def handle(event: QueryRequested, _origin: Origin) -> None:
        tries.append(event.task_id)
        if len(tries) < 4:
            assert bench.lag(QUERY_REQUESTED.name) == 2
            raise RetryableError("away")

    tries: list[str] = []
    bench.query(QueryRequested(task_id=TASK), QueryRequested(task_id=TASK))
    with bench.loop([route(QUERY_REQUESTED, handle)]):
        bench.wait_for_commit(QUERY_REQUESTED.name)
    assert len(tries) == 5


def test_a_request_in_hand_at_the_end_is_taken_again(bench: Bench) -> None:
    """Stopping during an outage commits nothing; the next loop does the request."""

    def fail(_event: QueryRequested, _origin: Origin) -> None:
        failed.set()
        raise RetryableError("away")

    failed = threading.Event()
    bench.query(QueryRequested(task_id=TASK))
    with bench.loop([route(QUERY_REQUESTED, fail)]):
        assert failed.wait(20)
    assert bench.lag(QUERY_REQUESTED.name) == 1
    with bench.loop([route(QUERY_REQUESTED, lambda _event, _origin: None)]):
        bench.wait_for_commit(QUERY_REQUESTED.name)
