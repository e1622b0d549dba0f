"""The starter with the real SDK against the simulator, real Kafka and real PostgreSQL: everybody once, nobody twice."""

import time

import psycopg
import pytest

from devtools.cloud.faults import FaultKind
from devtools.cloud.process import CloudSimulator
from producers.task_control import TaskControl
from producers.task_store import TaskStore
from runtime.kafka import Publisher
from schemas.ids import RequestId
from schemas.tasks import StartRequested, WorkingHours
from schemas.topics import TASK_STATE_CHANGED
from tests.fixtures.starter_bench import SETTLE, TASK, StarterBench
from tests.fixtures.topics import read_events


@pytest.fixture
def bench(topics: str, database: str, publisher: Publisher, cloud: CloudSimulator) -> StarterBench:
    """Everything real, and empty."""
    return StarterBench(topics, database, publisher, cloud)


def test_a_started_task_has_every_lead_assigned_once_by_reference(bench: StarterBench) -> None:
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


def test_a_start_before_its_leads_waits_for_them(bench: StarterBench) -> None:
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
def test_after_doubt_nobody_is_assigned_before_it_has_settled(bench: StarterBench, kind: FaultKind) -> None:
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


def test_one_refused_contact_does_not_cost_the_others(bench: StarterBench) -> None:
    """A chunk that is refused whole is halved until the bad one stands alone; a person sees it, and can mend it."""
    bench.add_leads(0, 10)
    with psycopg.connect(bench.dsn) as connection:
        connection.execute("update leads_task_list set leads_phone = '' where leads_id = 'lead-3'")
    starter = bench.starter()
    starter.request(StartRequested(task_id=TASK))
    bench.pass_once(starter)
    bench.pass_once(starter)
    assert len(bench.cloud.truth()) == 9
    assert bench.state() == ("calling", None)
    with psycopg.connect(bench.dsn) as connection:
        refused = connection.execute(
            "select leads_id, assign_refused from leads_task_list where assign_refused is not null"
        ).fetchall()
        assert refused == [("lead-3", "the cloud refuses it: InvalidParameter")]
        assert connection.execute("select refused, unassigned from call_task_progress").fetchone() == (1, 10)
    bench.apply()
    sent, listed = (bench.cloud.calls()["actions"][action] for action in ("AssignJobs", "ListJobsByGroup"))
    bench.pass_once(starter)
    bench.pass_once(bench.starter())
    assert bench.cloud.calls()["actions"]["AssignJobs"] == sent
    assert bench.cloud.calls()["actions"]["ListJobsByGroup"] == listed
    with psycopg.connect(bench.dsn) as connection:
        connection.execute("update leads_task_list set leads_phone = '13800000003' where leads_id = 'lead-3'")
    bench.pass_once(starter)
    bench.assert_everybody_once(10)


def test_a_paused_task_gets_no_assignment_and_goes_on_after_resume(bench: StarterBench) -> None:
    """Also a start request does not wake it: it is rejected with a sentence."""
    bench.add_leads(0, 3)
    starter = bench.starter()
    control = TaskControl(TaskStore(bench.database, worker="cli"), bench.client)
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
    bench.pass_once(starter)
    bench.assert_everybody_once(5)
    assert [event.state for event in read_events(bench.topics, TASK_STATE_CHANGED)][-1] == "calling"


def test_options_that_make_no_sense_are_answered_by_their_name(bench: StarterBench) -> None:
    """The answer has the request's id and names the field; a task that is calling goes on calling."""
    bench.add_leads(0, 2)
    starter = bench.starter()
    starter.request(StartRequested(task_id=TASK, request_id=RequestId("good"), max_attempts_per_day=2))
    bench.pass_once(starter)
    evening = (WorkingHours(begin="18:00", end="09:00"),)
    starter.request(StartRequested(task_id=TASK, request_id=RequestId("bad-1"), working_hours=evening))
    starter.request(StartRequested(task_id=TASK, request_id=RequestId("bad-2"), calling_numbers=("home",)))
    answers = {event.request_id: event for event in read_events(bench.topics, TASK_STATE_CHANGED)}
    assert [(answers[RequestId(name)].state, answers[RequestId(name)].reason) for name in ("bad-1", "bad-2")] == [
        ("rejected", "working_hours: span 1 ends at 09:00, before it begins at 18:00"),
        ("rejected", "calling_numbers: entry 1 is no telephone number"),
    ]
    assert bench.state() == ("calling", None)
    bench.assert_everybody_once(2)


def test_a_script_that_the_cloud_does_not_know_rejects_the_task_until_it_is_started_with_another(
    bench: StarterBench,
) -> None:
    """One try, one answer that names the field; the next request is judged by what it asks for itself."""
    bench.add_leads(0, 1)
    starter = bench.starter()
    starter.request(StartRequested(task_id=TASK, request_id=RequestId("q1"), script_id="unknown-script"))
    for _ in range(3):
        bench.pass_once(starter)
    assert sum(bench.cloud.calls()["actions"]["CreateJobGroup"].values()) == 1
    (rejected,) = [event for event in read_events(bench.topics, TASK_STATE_CHANGED) if event.state == "rejected"]
    assert rejected.request_id == "q1"
    assert rejected.reason is not None
    assert rejected.reason.startswith("script_id: the cloud says NotExist.Script")
    starter.request(StartRequested(task_id=TASK, request_id=RequestId("q2")))
    bench.pass_once(starter)
    bench.assert_everybody_once(1)
