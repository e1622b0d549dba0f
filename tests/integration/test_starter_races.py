"""The starter against a real PostgreSQL and a cloud that a test holds still: what two hands at once may not do."""

import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import LiteralString, cast
from uuid import uuid4

import psycopg
import pytest

from devtools.processes import wait_until
from producers.assignment import AssignmentPolicy
from producers.cloud.errors import UnclearAnswerError
from producers.cloud.payloads import Contact, GroupOptions
from producers.starter import Starter
from producers.task_control import TaskControl
from producers.task_store import TaskStore
from runtime.clock import SystemClock
from runtime.errors import CallstreamError, RejectedError, RetryableError
from runtime.kafka import Publisher
from runtime.postgres import Database
from runtime.service import Service
from runtime.settings import CloudSettings
from schemas.codec import decode
from schemas.ids import (
    CallJobId,
    JobGroupId,
    LeadId,
    ReferenceId,
    RequestId,
    TaskId,
    job_group_name_for,
    reference_id_for,
)
from schemas.jobs import JobAssigned
from schemas.tasks import StartRequested
from schemas.topics import JOB_ASSIGNED, TASK_STATE_CHANGED
from tests.fixtures.kept_records import KeptRecords

TASK = TaskId("task-1")
POLICY = AssignmentPolicy(call_timeout=timedelta(seconds=20), settle=timedelta(seconds=10))


class HeldCloud:
    """A cloud in memory; a test may act in the middle of a call."""

    def __init__(self) -> None:
        self.jobs: list[tuple[ReferenceId, CallJobId]] = []
        self.sent: list[list[ReferenceId]] = []
        self.groups: dict[str, JobGroupId] = {}
        self.orders: list[str] = []
        self.while_listing: Callable[[], None] = lambda: None
        self.while_creating: Callable[[], None] = lambda: None
        self.before_assigning: Callable[[Sequence[Contact]], None] = lambda _: None

    def find_job_group(self, name: str) -> JobGroupId | None:
        """By its name."""
        return self.groups.get(name)

    def create_job_group(self, name: str, options: GroupOptions) -> JobGroupId:  # noqa: ARG002 - the port's name
        """There is one group."""
        self.while_creating()
        return self.groups.setdefault(name, JobGroupId("group-1"))

    def list_group(self, group_id: JobGroupId) -> dict[ReferenceId, list[CallJobId]]:  # noqa: ARG002 - the port's name
        """As it was when the call began."""
        found: dict[ReferenceId, list[CallJobId]] = {}
        for reference, job in self.jobs:
            found.setdefault(reference, []).append(job)
        once, self.while_listing = self.while_listing, lambda: None
        once()
        return found

    def assign_jobs(
        self,
        group_id: JobGroupId,  # noqa: ARG002 - the port's name
        contacts: Sequence[Contact],
        *,
        guard: Callable[[], None] = lambda: None,
    ) -> None:
        """One job for each contact."""
        guard()
        self.sent.append([contact.reference_id for contact in contacts])
        self.before_assigning(contacts)
        self.jobs += [(contact.reference_id, CallJobId(str(uuid4()))) for contact in contacts]

    def suspend(self, group_id: JobGroupId) -> None:
        """Noted."""
        self.orders.append(f"suspend {group_id}")

    def resume(self, group_id: JobGroupId) -> None:
        """Noted."""
        self.orders.append(f"resume {group_id}")

    def cancel(self, group_id: JobGroupId) -> None:
        """Noted."""
        self.orders.append(f"cancel {group_id}")


class Bench:
    """One starter with everything that it needs."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.database = Database(dsn, name="start")
        self.database.open()
        self.cloud = HeldCloud()
        self.kept = KeptRecords()
        self.publisher = cast(Publisher, self.kept)
        self.store = TaskStore(self.database, worker="one")
        self.starter = self.make(self.store)

    def make(self, store: TaskStore) -> Starter:
        """A starter on another store."""
        return Starter(
            store=store,
            cloud=self.cloud,
            publisher=self.publisher,
            policy=POLICY,
            settings=CloudSettings(),
            clock=SystemClock(),
        )

    def sql(self, text: LiteralString, *parameters: object) -> list[tuple[object, ...]]:
        """Say something to the database."""
        with psycopg.connect(self.dsn) as connection:
            cursor = connection.execute(text, parameters)
            return cursor.fetchall() if cursor.description else []

    def add_leads(self, count: int, task: TaskId = TASK, phone: str = "13800000000") -> None:
        """Rows as the sink makes them."""
        for number in range(count):
            lead_id = LeadId(f"{task}-lead-{number}")
            self.sql(
                "insert into leads_task_list (task_id, leads_id, leads_name, leads_phone, reference_id)"
                " values (%s, %s, 'n', %s, %s)",
                task,
                lead_id,
                phone,
                reference_id_for(task, lead_id),
            )

    def due(self) -> None:
        """Every started task is due."""
        self.sql("update call_tasks set assign_due_at = now() where assign_due_at is not null")

    def once(self, starter: Starter | None = None, store: TaskStore | None = None) -> None:
        """One look at everything that is due, now."""
        self.due()
        for task in (store or self.store).lease(10):
            (starter or self.starter).work(task)

    def apply(self) -> None:
        """Do what the sink does with assigned events."""
        for event in self.kept.events(JOB_ASSIGNED):
            self.sql(
                "update leads_task_list set call_job_id = %s where reference_id = %s",
                *(event.call_job_id, event.reference_id),
            )

    def state(self, task: TaskId = TASK) -> tuple[object, ...]:
        """State and error of a task."""
        return self.sql("select state, last_error from call_tasks where task_id = %s", task)[0]

    @property
    def called(self) -> list[ReferenceId]:
        """References in the cloud, repeats included."""
        return sorted(reference for reference, _ in self.cloud.jobs)


@pytest.fixture
def bench(database: str) -> Iterator[Bench]:
    """A migrated database, and everything else in memory."""
    bench = Bench(database)
    yield bench
    bench.database.close()


def expire(bench: Bench) -> None:
    """Let every lease run out."""
    bench.sql("update call_tasks set assign_leased_until = now() - interval '1 s', assign_due_at = now()")


def test_a_listing_that_outlived_its_lease_assigns_nobody(bench: Bench) -> None:
    """The same process takes the task again while a slow listing is under way: everybody is called once."""
    bench.add_leads(30)
    bench.starter.request(StartRequested(task_id=TASK))

    has_sent, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        has_sent.set()
        may_end.wait(5)

    def again() -> None:
        """A second thread of the same process takes the task, sends, and has not given it back yet."""
        expire(bench)
        bench.cloud.before_assigning = lambda _: setattr(bench.cloud, "while_listing", hold)
        second.start()
        has_sent.wait(5)
        bench.cloud.before_assigning = lambda _: None

    second = threading.Thread(target=bench.once)
    bench.cloud.while_listing = again
    bench.once()
    may_end.set()
    second.join()
    assert len(bench.called) == len(set(bench.called)) == 30


def test_a_lease_lost_while_halves_are_sent_stops_the_sending(bench: Bench) -> None:
    """The lease is checked before each part of a refused chunk, too."""
    bench.add_leads(4)
    bench.starter.request(StartRequested(task_id=TASK))

    def refuse(contacts: Sequence[Contact]) -> None:
        if len(contacts) == 4:
            expire(bench)
            bench.sql("update call_tasks set assign_leased_by = 'other', assign_leased_until = now() + interval '9 s'")
            raise RejectedError("no", code="InvalidParameter")

    bench.cloud.before_assigning = refuse
    bench.once()
    assert [len(chunk) for chunk in bench.cloud.sent] == [4]


def test_a_doubt_that_another_starter_adds_stops_the_sending(bench: Bench) -> None:
    """It lost its lease during a call whose end was unclear: who lists meanwhile has not seen what comes of that."""
    bench.add_leads(3)
    bench.starter.request(StartRequested(task_id=TASK))
    bench.due()
    (late,) = TaskStore(bench.database, worker="late").lease(1)
    expire(bench)
    bench.cloud.while_listing = lambda: bench.store.doubt(late, POLICY.settle)
    bench.once()
    assert bench.cloud.sent == []


def test_in_a_group_that_was_found_nobody_is_assigned_before_that_is_certain(bench: Bench) -> None:
    """The database was restored, and knows nothing of a call that is still on its way there."""
    bench.add_leads(3)
    bench.cloud.groups[job_group_name_for(TASK)] = JobGroupId("group-1")
    bench.starter.request(StartRequested(task_id=TASK))
    for _ in range(3):
        bench.once()
    assert bench.cloud.sent == []
    late = reference_id_for(TASK, LeadId(f"{TASK}-lead-0"))
    bench.cloud.jobs.append((late, CallJobId("late")))
    bench.sql("update call_tasks set assign_doubt_until = now() - interval '1 s'")
    bench.once()
    assert len(bench.called) == len(set(bench.called)) == 3


def test_a_cancellation_during_a_pass_stays(bench: Bench) -> None:
    """Somebody cancels while the starter lists: the task stays cancelled and nobody is assigned."""
    bench.add_leads(3)
    bench.starter.request(StartRequested(task_id=TASK))
    bench.cloud.groups["x"] = JobGroupId("group-1")
    bench.sql("update call_tasks set job_group_id = 'group-1'")
    control = TaskControl(TaskStore(bench.database, worker="cli"), bench.cloud)
    bench.cloud.while_listing = lambda: control.cancel(TASK)
    bench.once()
    assert bench.state()[0] == "cancelled"
    bench.once()
    assert bench.called == []


def test_a_cancelled_task_cannot_be_resumed(bench: Bench) -> None:
    """Cancelling cannot be undone by a resume."""
    bench.add_leads(3)
    bench.starter.request(StartRequested(task_id=TASK))
    bench.sql("update call_tasks set job_group_id = 'group-1'")
    control = TaskControl(TaskStore(bench.database, worker="cli"), bench.cloud)
    control.cancel(TASK)
    with pytest.raises(CallstreamError):
        control.resume(TASK)
    assert bench.state()[0] == "cancelled"


def test_a_started_task_without_a_group_can_be_paused(bench: Bench) -> None:
    """Before its first lead it has no group; pausing it must still keep later leads from being called."""
    bench.starter.request(StartRequested(task_id=TASK))
    control = TaskControl(TaskStore(bench.database, worker="cli"), bench.cloud)
    control.pause(TASK)
    bench.add_leads(2)
    bench.once()
    assert bench.called == []
    assert bench.cloud.orders == []


def test_what_is_sent_around_a_stop_is_stopped_too(bench: Bench) -> None:
    """A chunk that was marked before a cancellation reaches the cloud after it: it is cancelled again."""
    bench.add_leads(3)
    bench.starter.request(StartRequested(task_id=TASK))
    bench.sql("update call_tasks set job_group_id = 'group-1'")
    control = TaskControl(TaskStore(bench.database, worker="cli"), bench.cloud)
    bench.cloud.before_assigning = lambda _: control.cancel(TASK)
    bench.once()
    assert bench.state()[0] == "cancelled"
    assert bench.cloud.orders == ["cancel group-1"]
    assert not control.is_obeyed(TASK)
    bench.once()
    assert bench.cloud.orders == ["cancel group-1"] * 2
    assert control.is_obeyed(TASK)
    assert len(bench.called) == 3
    assert {decode(record.value, JobAssigned).reference_id for record in bench.kept.of(JOB_ASSIGNED.name)} == set(
        bench.called
    )
    assert bench.kept.events(TASK_STATE_CHANGED)[-1].state == "cancelled"


def test_a_group_that_the_cloud_refuses_rejects_the_task(bench: Bench) -> None:
    """A wrong script: the answer is an event with a sentence, and no endless try."""
    bench.add_leads(1)
    bench.starter.request(StartRequested(task_id=TASK, request_id=RequestId("q1")))

    def refuse() -> None:
        raise RejectedError("the script is unknown", code="NotExist.Script")

    bench.cloud.while_creating = refuse
    bench.once()
    assert bench.state()[0] == "rejected"
    assert [(event.state, event.request_id, bool(event.reason)) for event in bench.kept.events(TASK_STATE_CHANGED)][
        -1
    ] == (
        "rejected",
        "q1",
        True,
    )


def test_a_request_is_answered_by_starting_and_calling(bench: Bench) -> None:
    """Both states are announced, with the request's id."""
    bench.starter.request(StartRequested(task_id=TASK, request_id=RequestId("q1")))
    bench.once()
    assert [(event.state, event.request_id) for event in bench.kept.events(TASK_STATE_CHANGED)] == [
        ("starting", "q1"),
        ("calling", "q1"),
    ]


def test_the_same_request_again_does_not_start_a_finished_task(bench: Bench) -> None:
    """Kafka may hand a request over twice, the second time after the task's end."""
    request = StartRequested(task_id=TASK, request_id=RequestId("q1"))
    bench.starter.request(request)
    bench.once()
    bench.sql("update call_tasks set state = 'done'")
    bench.starter.request(request)
    assert bench.state()[0] == "done"


def test_one_tasks_refusals_are_not_anothers(bench: Bench) -> None:
    """An error belongs to the task whose lead it is."""
    other = TaskId("task-2")
    bench.add_leads(1)
    bench.add_leads(1, other)

    def refuse(contacts: Sequence[Contact]) -> None:
        if contacts[0].reference_id == reference_id_for(TASK, LeadId(f"{TASK}-lead-0")):
            raise RejectedError("no", code="InvalidParameter")

    bench.cloud.before_assigning = refuse
    for task in (TASK, other):
        bench.starter.request(StartRequested(task_id=task))
    bench.once()
    bench.once()
    refused = bench.sql("select task_id, assign_refused from leads_task_list where assign_refused is not null")
    assert refused == [(TASK, "the cloud refuses it: InvalidParameter")]


def test_a_bad_contact_is_found_although_its_refusal_comes_with_200(bench: Bench) -> None:
    """Each time nobody is sent again before that is certain, then less at once, until it stands alone and is held."""
    bench.add_leads(30)
    bad = reference_id_for(TASK, LeadId(f"{TASK}-lead-7"))
    bench.starter.request(StartRequested(task_id=TASK))

    def refuse(contacts: Sequence[Contact]) -> None:
        if bad in [contact.reference_id for contact in contacts]:
            raise UnclearAnswerError("AssignJobs did not succeed: InvalidParameter", code="InvalidParameter")

    bench.cloud.before_assigning = refuse
    for _ in range(12):
        bench.once()
        sent = len(bench.cloud.sent)
        bench.once()
        assert len(bench.cloud.sent) == sent
        bench.sql("update call_tasks set assign_doubt_until = now() - interval '1 s'")
        bench.sql("update leads_task_list set assign_marked_at = now() - interval '1 hour'")
        bench.apply()
    assert len(bench.called) == len(set(bench.called)) == 29
    assert bench.sql("select reference_id, assign_refused from leads_task_list where call_job_id = ''") == [
        (bad, "the cloud refuses it: InvalidParameter")
    ]
    assert max(map(len, bench.cloud.sent)) == 25
    assert bench.cloud.sent.count([bad]) == 1


def test_a_group_that_is_gone_is_not_a_bad_contact(bench: Bench) -> None:
    """What is refused because of the group is not tried again lead by lead."""
    bench.add_leads(25)
    bench.starter.request(StartRequested(task_id=TASK))

    def refuse(_contacts: Sequence[Contact]) -> None:
        raise RejectedError("the group does not exist", code="NotExist.JobGroup")

    bench.cloud.before_assigning = refuse
    bench.once()
    assert len(bench.cloud.sent) == 1


def test_events_are_not_repeated_while_the_sink_lags(bench: Bench) -> None:
    """A job id that was published a moment ago is not published again at each look."""
    bench.add_leads(5)
    bench.starter.request(StartRequested(task_id=TASK))
    for _ in range(5):
        bench.once()
    assert len(bench.kept.of(JOB_ASSIGNED.name)) == 5


def test_finished_tasks_are_left_alone(bench: Bench) -> None:
    """A task that is done costs nothing until it gets leads; then it goes on."""
    bench.starter.request(StartRequested(task_id=TASK))
    bench.once()
    bench.sql("update call_tasks set state = 'done'")
    bench.once()
    assert bench.sql("select assign_due_at from call_tasks") == [(None,)]
    bench.add_leads(1)
    bench.store.reopen()
    bench.once()
    assert len(bench.called) == 1
    assert bench.state()[0] == "calling"


def test_a_lead_whose_transaction_ended_late_is_called_too(bench: Bench) -> None:
    """Newer leads that were seen before it, however many, do not hide it from the next look."""
    bench.starter.request(StartRequested(task_id=TASK))
    bench.once()
    bench.sql("update call_tasks set state = 'done'")
    with psycopg.connect(bench.dsn) as slow:
        slow.execute(
            "insert into leads_task_list (task_id, leads_id, leads_name, leads_phone, reference_id)"
            " values (%s, 'late', 'n', '13800000000', 'late')",
            (TASK,),
        )
        bench.sql(
            "insert into leads_task_list (task_id, leads_id, leads_name, leads_phone, reference_id)"
            " select 'another', n, 'n', '1', n from generate_series(1, 20000) as n"
        )
        seen = bench.store.reopen()
    bench.store.reopen(seen)
    bench.once()
    assert len(bench.called) == 1


def test_a_creation_in_doubt_is_waited_out(bench: Bench) -> None:
    """CreateJobGroup that timed out may yet have its effect: nobody creates again before it has settled."""
    bench.add_leads(1)
    bench.starter.request(StartRequested(task_id=TASK))
    calls = []

    def hang() -> None:
        calls.append(1)
        raise RetryableError("time-out")

    bench.cloud.while_creating = hang
    bench.once()
    bench.once()
    assert len(calls) == 1
    bench.sql("update call_tasks set assign_doubt_until = now() - interval '1 s'")
    bench.cloud.while_creating = lambda: None
    bench.once()
    assert len(bench.called) == 1


def test_an_answer_of_any_shape_never_ends_the_role(bench: Bench) -> None:
    """A surprise while one task is worked on costs that task some seconds and nobody else anything."""
    bench.add_leads(1)
    bench.starter.request(StartRequested(task_id=TASK))

    def surprise() -> None:
        raise KeyError("JobGroupId")

    bench.cloud.while_creating = surprise
    bench.once()
    assert bench.state()[1] is not None


def test_a_running_starter_finds_late_leads_and_ends_when_told(bench: Bench) -> None:
    """Leads of a finished task are found within seconds, wherever the task's next look is; then a signal comes."""
    service = Service(role="start", host="127.0.0.1", port=0, checks={})

    def run() -> None:
        with service:
            bench.starter.run(service)

    bench.starter.request(StartRequested(task_id=TASK))
    thread = threading.Thread(target=run)
    thread.start()
    try:
        wait_until(lambda: bench.state()[0] == "calling", seconds=15, what="calling")
        bench.sql("update call_tasks set state = 'done', assign_due_at = null")
        bench.add_leads(2)
        wait_until(lambda: len(bench.called) == 2, seconds=15, what="late leads")
    finally:
        service.stopping.set()
        thread.join(15)
    assert not thread.is_alive()
    assert bench.sql("select assign_leased_by from call_tasks") == [(None,)]


def test_a_starter_that_was_killed_leaves_its_task_to_others_within_seconds(bench: Bench) -> None:
    """Its leases end soon; the lead that it had marked, and the task, stay in doubt for longer than a call can last."""
    bench.add_leads(1)
    bench.starter.request(StartRequested(task_id=TASK))
    bench.due()
    (task,) = bench.store.lease(10)
    lead = reference_id_for(TASK, LeadId(f"{TASK}-lead-0"))
    bench.store.mark(task, [lead], doubt_until=None, certainty=POLICY.certainty)
    bench.sql("update call_tasks set job_group_id = 'group-1'")
    left = bench.sql("select extract(epoch from assign_leased_until - now()) from call_tasks")[0][0]
    assert float(str(left)) < 15
    expire(bench)
    bench.once()
    assert bench.called == []
    bench.sql("update leads_task_list set assign_marked_at = now() - interval '32 s'")
    bench.once()
    assert bench.called == []
    bench.sql("update call_tasks set assign_doubt_until = now() - interval '1 s'")
    bench.once()
    assert len(bench.called) == 1
