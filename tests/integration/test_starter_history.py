"""Histories that nobody planned: a table restored from yesterday, rows deleted and replayed, tasks started again."""

import pytest

from devtools.cloud.process import CloudSimulator
from producers.cloud.payloads import Contact
from runtime.kafka import Publisher
from schemas.ids import CallJobId, JobGroupId, ReferenceId, RequestId
from schemas.tasks import StartRequested
from schemas.topics import JOB_ASSIGNED, TASK_STATE_CHANGED
from tests.fixtures.starter_bench import SETTLE, TASK, StarterBench
from tests.fixtures.topics import read_events


@pytest.fixture
def bench(topics: str, database: str, publisher: Publisher, cloud: CloudSimulator) -> StarterBench:
    """Everything real, and empty."""
    return StarterBench(topics, database, publisher, cloud)


def started(bench: StarterBench, leads: int) -> int:
    """Have so many leads called; returns how many calls of AssignJobs that took."""
    bench.add_leads(0, leads)
    bench.starter().request(StartRequested(task_id=TASK, request_id=RequestId("q1")))
    bench.pass_until(bench.has_all)
    bench.assert_everybody_once(leads)
    return bench.sent()


@pytest.mark.parametrize("has_task", [True, False])
def test_a_database_of_yesterday_calls_nobody_again(bench: StarterBench, has_task: bool) -> None:  # noqa: FBT001 - pytest's
    """Rows without job ids, a task without its group, or no task: what the cloud has comes back, from the cloud."""
    sent = started(bench, 30)
    bench.sql("update leads_task_list set call_job_id = '', assign_marked_at = null, page = null")
    if has_task:
        bench.sql("update call_tasks set job_group_id = null, state = 'starting', assign_doubt_until = null")
    else:
        bench.sql("delete from call_tasks")
    bench.starter().request(StartRequested(task_id=TASK, request_id=RequestId("q1")))
    bench.pass_until(bench.has_all)
    bench.assert_everybody_once(30)
    assert bench.sent() == sent
    assert len(bench.cloud.groups()) == 1


def test_a_group_that_is_gone_is_not_made_again(bench: StarterBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leads were assigned in it, perhaps in another instance: a person must look, and nobody is called."""
    sent = started(bench, 2)
    bench.add_leads(2, 3)
    bench.sql("update call_tasks set job_group_id = null, assign_doubt_until = null")
    monkeypatch.setattr(bench.client, "find_job_group", lambda _name: None)
    bench.pass_once(bench.starter())
    state, error = bench.state()
    assert (state, bench.sent(), len(bench.cloud.groups())) == ("calling", sent, 1)
    assert error == "leads of the task were assigned before, but the cloud does not show its job group"


def test_a_lead_that_was_deleted_and_replayed_is_adopted(bench: StarterBench) -> None:
    """The row is new, its call is not."""
    sent = started(bench, 5)
    bench.sql("delete from leads_task_list where leads_id in ('lead-1', 'lead-2')")
    bench.add_leads(1, 3)
    bench.pass_until(bench.has_all)
    bench.assert_everybody_once(5)
    assert bench.sent() == sent


def test_leads_that_were_deleted_while_their_call_was_in_doubt_wait_until_it_has_settled(bench: StarterBench) -> None:
    """Their marks are gone with their rows; the task's doubt is not."""
    bench.add_leads(0, 5)
    bench.starter().request(StartRequested(task_id=TASK, request_id=RequestId("q1")))
    bench.cloud.add_fault("AssignJobs", "late-drop", seconds=SETTLE * 0.8)
    bench.pass_once(bench.starter())
    bench.sql("delete from leads_task_list")
    bench.add_leads(0, 5)
    bench.pass_until(bench.has_all)
    bench.assert_everybody_once(5)
    assert bench.sent() == 1


def test_every_start_request_is_answered_and_none_calls_anybody_again(bench: StarterBench) -> None:
    """The same again, others, and those of yesterday after the task's end."""
    sent = started(bench, 5)
    bench.sql("update call_tasks set state = 'done'")
    for name in ("q1", "q2", "q2", "q1", "q3"):
        bench.starter().request(StartRequested(task_id=TASK, request_id=RequestId(name)))
        bench.pass_once(bench.starter())
    answers = [(event.request_id, event.state) for event in read_events(bench.topics, TASK_STATE_CHANGED)]
    assert {name for name, _ in answers} == {"q1", "q2", "q3"}
    assert answers.count((RequestId("q2"), "calling")) >= 2
    bench.assert_everybody_once(5)
    assert bench.sent() == sent


def test_jobs_of_strangers_in_the_group_harm_nobody(bench: StarterBench) -> None:
    """Somebody assigns in our group by hand: neither are they ours, nor do they keep ours from being called."""
    started(bench, 2)
    group = JobGroupId(bench.cloud.groups()[0]["id"])
    stranger = Contact(reference_id=ReferenceId("x" * 300), name="n", phone_number="13900000000")
    bench.client.assign_jobs(group, [stranger])
    bench.add_leads(2, 4)
    bench.pass_until(bench.has_all)
    truth = {job["reference_id"]: job["job_id"] for job in bench.cloud.truth()}
    told = {event.reference_id: event.call_job_id for event in read_events(bench.topics, JOB_ASSIGNED)}
    assert told == {reference: job for reference, job in truth.items() if reference != stranger.reference_id}


def test_leads_that_differ_in_nothing_but_case_or_share_a_number_are_each_called_once(bench: StarterBench) -> None:
    """A reference is compared letter by letter, and a person may be two leads."""
    for reference in ("Lead-A", "lead-a", "LEAD-A"):
        bench.sql(
            "insert into leads_task_list (task_id, leads_id, leads_name, leads_phone, reference_id)"
            " values (%s, %s, 'n', '13800000000', %s)",
            TASK,
            reference,
            reference,
        )
    bench.starter().request(StartRequested(task_id=TASK))
    bench.pass_until(bench.has_all)
    bench.assert_everybody_once(3)


def test_thousands_of_refused_leads_do_not_hold_up_newer_ones(bench: StarterBench) -> None:
    """They come last, and cost no call of the cloud."""
    bench.sql(
        "insert into leads_task_list (task_id, leads_id, leads_name, leads_phone, reference_id)"
        " select %s, 'bad-' || n, 'n', '', 'bad-' || n from generate_series(1, 2100) n",
        TASK,
    )
    bench.sql(
        "update leads_task_list set assign_refused = 'no',"
        " assign_contact = md5(jsonb_build_array(leads_name, leads_phone, extras)::text)"
    )
    bench.starter().request(StartRequested(task_id=TASK))
    bench.sql(
        "update leads_task_list set assign_refused = 'no',"
        " assign_contact = md5(jsonb_build_array(leads_name, leads_phone, extras)::text)"
    )
    bench.pass_once(bench.starter())
    assert bench.cloud.calls()["actions"] == {}
    bench.add_leads(0, 3)
    bench.pass_once(bench.starter())
    bench.assert_everybody_once(3)


def test_what_the_cloud_takes_and_does_not_list_is_not_sent_again(
    bench: StarterBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cloud that drops a contact without a word, or changes its reference, must not be asked again and again."""
    bench.add_leads(0, 2)
    bench.starter().request(StartRequested(task_id=TASK))
    whole = bench.client.list_group

    def hide(group: JobGroupId) -> dict[ReferenceId, list[CallJobId]]:
        return {reference: jobs for reference, jobs in whole(group).items() if reference != bench.reference(1)}

    with monkeypatch.context() as hiding:
        hiding.setattr(bench.client, "list_group", hide)
        bench.pass_once(bench.starter())
        bench.sql("update leads_task_list set assign_marked_at = now() - interval '1 h'")
        for _ in range(3):
            bench.pass_once(bench.starter())
    assert bench.sent() == 1
    assert bench.sql("select leads_id from leads_task_list where assign_taken_at is not null") == [("lead-1",)]
    bench.pass_until(bench.has_all)
    bench.assert_everybody_once(2)
