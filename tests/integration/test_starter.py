"""The starter with the real SDK against the simulator, real Kafka and real PostgreSQL: everybody once, nobody twice."""

import time
from datetime import timedelta
from uuid import uuid4

import psycopg
import pytest
from pydantic import SecretStr

from devtools.cloud.faults import FaultKind
from devtools.cloud.process import CloudSimulator
from producers.assignment import AssignmentPolicy
from producers.cloud.client import CloudClient
from producers.starter import Starter
from producers.task_control import TaskControl
from producers.task_store import TaskStore
from runtime.clock import SystemClock
from runtime.kafka import Publisher
from runtime.postgres import Database
from runtime.settings import CloudSettings
from schemas.ids import LeadId, RequestId, TaskId, reference_id_for
from schemas.tasks import StartRequested
from schemas.topics import JOB_ASSIGNED, TASK_STATE_CHANGED
from tests.fixtures.topics import read_events

TASK = TaskId("task-1")
SETTLE = 1.0


class Bench:
    """A starter, its database and its cloud."""

    def __init__(self, topics: str, dsn: str, publisher: Publisher, cloud: CloudSimulator) -> None:
        self.topics = topics
        self.dsn = dsn
        self.cloud = cloud
        self.publisher = publisher
        self.database = Database(dsn, name="start")
        self.database.open()
        self.settings = CloudSettings(
            access_key_id=cloud.access_key_id,
            access_key_secret=SecretStr(cloud.access_key_secret),
            instance_id=cloud.instance_id,
            endpoint=cloud.endpoint,
            protocol="http",
            max_qps=200,
            timeout_seconds=1,
        )
        self.client = CloudClient(self.settings)

    def starter(self) -> Starter:
        """A new starter, as after a crash."""
        return Starter(
            store=TaskStore(self.database, worker=str(uuid4())),
            cloud=self.client,
            publisher=self.publisher,
            policy=AssignmentPolicy(call_timeout=timedelta(seconds=1), settle=timedelta(seconds=SETTLE)),
            settings=self.settings,
            clock=SystemClock(),
        )

    def add_leads(self, first: int, last: int) -> None:
        """Rows as the sink makes them."""
        with psycopg.connect(self.dsn) as connection:
            for number in range(first, last):
                lead_id = LeadId(f"lead-{number}")
                connection.execute(
                    "insert into leads_task_list (task_id, leads_id, leads_name, leads_phone, reference_id)"
                    " values (%s, %s, 'n', %s, %s)",
                    (TASK, lead_id, f"138{number:08d}", reference_id_for(TASK, lead_id)),
                )

    def pass_once(self, starter: Starter) -> None:
        """One look at everything that is due, now."""
        with psycopg.connect(self.dsn) as connection:
            connection.execute("update call_tasks set assign_due_at = now() where assign_due_at is not null")
        for task in starter._store.lease(10):
            starter.work(task)

    def apply(self) -> None:
        """Do what the sink does with assigned events."""
        with psycopg.connect(self.dsn) as connection:
            for event in read_events(self.topics, JOB_ASSIGNED):
                connection.execute(
                    "update leads_task_list set call_job_id = %s where reference_id = %s and call_job_id = ''",
                    (event.call_job_id, event.reference_id),
                )

    def state(self) -> tuple[str, str | None]:
        """The task's state and error."""
        with psycopg.connect(self.dsn) as connection:
            row = connection.execute("select state, last_error from call_tasks").fetchone()
        assert row is not None
        return row[0], row[1]

    def assert_everybody_once(self, count: int) -> None:
        """Every lead has one job in the cloud, and its event says which, by reference."""
        truth = {job["reference_id"]: job["job_id"] for job in self.cloud.truth()}
        assert self.cloud.duplicates() == []
        assert len(truth) == count
        assert {event.reference_id: event.call_job_id for event in read_events(self.topics, JOB_ASSIGNED)} == truth


@pytest.fixture
def bench(topics: str, database: str, publisher: Publisher, cloud: CloudSimulator) -> Bench:
    """Everything real, and empty."""
    return Bench(topics, database, publisher, cloud)


def test_a_started_task_has_every_lead_assigned_once_by_reference(bench: Bench) -> None:
    """60 leads go out in chunks of 25; later leads follow; a repeated start changes nothing."""
    bench.add_leads(0, 60)
    starter = bench.starter()
    starter.request(StartRequested(task_id=TASK, request_id=RequestId("q1")))
    bench.pass_once(starter)
    bench.apply()
    bench.assert_everybody_once(60)
    assert bench.cloud.calls()["max_ids"]["AssignJobs"] == 25
    bench.add_leads(60, 63)
    starter.request(StartRequested(task_id=TASK, request_id=RequestId("q2")))
    bench.pass_once(starter)
    bench.apply()
    bench.assert_everybody_once(63)
    assert len(bench.cloud.groups()) == 1
    answers = [(event.state, event.request_id) for event in read_events(bench.topics, TASK_STATE_CHANGED)]
    assert answers == [("starting", "q1"), ("calling", "q1"), ("calling", "q2")]
    with psycopg.connect(bench.dsn) as connection:
        pages = connection.execute("select page, count(*) from leads_task_list group by page").fetchall()
    assert pages == [(0, 63)]


def test_a_start_before_its_leads_waits_for_them(bench: Bench) -> None:
    """The task is marked as started; what comes later is assigned."""
    starter = bench.starter()
    starter.request(StartRequested(task_id=TASK))
    bench.pass_once(starter)
    assert bench.state() == ("calling", None)
    bench.add_leads(0, 2)
    bench.pass_once(starter)
    bench.assert_everybody_once(2)


@pytest.mark.parametrize(
    "kind", ["drop-before", "drop-after", "unavailable", "success-false", "half", "throttle", "late"]
)
def test_after_doubt_nobody_is_assigned_before_it_has_settled(bench: Bench, kind: FaultKind) -> None:
    """Whatever the answer was worth: no reference twice, and in the end everybody once."""
    bench.add_leads(0, 30)
    starter = bench.starter()
    starter.request(StartRequested(task_id=TASK))
    bench.cloud.add_fault("AssignJobs", kind, seconds=SETTLE / 2)
    bench.pass_once(starter)
    sent = bench.cloud.calls()["actions"]["AssignJobs"]
    bench.pass_once(bench.starter())
    assert bench.cloud.calls()["actions"]["AssignJobs"] == sent
    time.sleep(2 * SETTLE + 1)
    for _ in range(2):
        bench.pass_once(bench.starter())
        bench.apply()
    bench.assert_everybody_once(30)


def test_one_refused_contact_does_not_cost_the_others(bench: Bench) -> None:
    """A chunk that is refused whole is halved until the bad one stands alone; a person can see it."""
    bench.add_leads(0, 10)
    with psycopg.connect(bench.dsn) as connection:
        connection.execute("update leads_task_list set leads_phone = '' where leads_id = 'lead-3'")
    starter = bench.starter()
    starter.request(StartRequested(task_id=TASK))
    bench.pass_once(starter)
    bench.pass_once(starter)
    assert len(bench.cloud.truth()) == 9
    state, error = bench.state()
    assert state == "calling"
    assert error is not None
    assert "refused" in error


def test_a_paused_task_gets_no_assignment_and_goes_on_after_resume(bench: Bench) -> None:
    """Also a start request does not wake it: it is rejected with a sentence."""
    bench.add_leads(0, 3)
    starter = bench.starter()
    control = TaskControl(TaskStore(bench.database, worker="cli"), bench.client, bench.publisher, SystemClock())
    starter.request(StartRequested(task_id=TASK))
    bench.pass_once(starter)
    bench.apply()
    control.pause(TASK)
    bench.add_leads(3, 5)
    starter.request(StartRequested(task_id=TASK, request_id=RequestId("q")))
    bench.pass_once(starter)
    bench.assert_everybody_once(3)
    rejected = [event for event in read_events(bench.topics, TASK_STATE_CHANGED) if event.state == "rejected"]
    assert [(event.request_id, event.reason) for event in rejected] == [("q", "the task is paused")]
    control.resume(TASK)
    bench.pass_once(starter)
    bench.assert_everybody_once(5)
