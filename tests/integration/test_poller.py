"""The poller on a real PostgreSQL, a real Kafka and the simulated cloud: what it lists, publishes and gives back."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import orjson
import pytest

from devtools.cloud.process import CloudSimulator
from devtools.processes import wait_until
from producers.audits import TaskAudits
from producers.cloud.errors import CredentialsError
from producers.cloud.payloads import Contact, GroupOptions
from producers.expander import Expander
from producers.poll_store import PollStore
from producers.poller import Cloud, Poller
from producers.schedule import Hours, Lease, Scope
from runtime.clock import SystemClock
from runtime.dead_letters import DeadLetterOffice, Origin
from runtime.errors import RejectedError, RetryableError
from runtime.kafka import Publisher
from schemas.ids import CallJobId, JobGroupId, ReferenceId, TaskId, page_id_for
from schemas.jobs import JobsPolled
from schemas.topics import JOBS_POLLED, TASK_STATE_CHANGED
from tests.fixtures.shells import Rows, client_of, running, settings_of
from tests.fixtures.topics import read_events, read_messages, wait_for_events

TASK = TaskId("task-1")
GROUP_ID = JobGroupId("group-1")
SECOND = timedelta(seconds=1)


@dataclass
class Counts:
    """A group's progress."""

    by_status: Mapping[str, int]
    working_hours: Sequence[Hours] = ()


@dataclass
class ScriptedCloud:
    """A cloud of few words: jobs by id, counts, and errors to be raised; remembers the ids of every listing."""

    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    counts: Counts | None = None
    errors: list[Exception] = field(default_factory=list)
    listings: list[list[str]] = field(default_factory=list)
    called: list[CallJobId] | Exception | None = None
    limits: list[int] = field(default_factory=list)
    unknown_code: str | None = None

    def list_jobs(self, ids: Sequence[CallJobId]) -> Sequence[Mapping[str, Any]]:
        """Answer as the script says."""
        self.listings.append([str(job_id) for job_id in ids])
        if self.errors:
            raise self.errors.pop(0)
        if self.unknown_code and any(job_id not in self.jobs for job_id in ids):
            raise RejectedError(f"the cloud says {self.unknown_code}", code=self.unknown_code)
        return [self.jobs[job_id] for job_id in ids if job_id in self.jobs]

    def describe_job_group(self, group_id: JobGroupId) -> Counts:
        """Answer with the counts, or know no such group."""
        if self.counts is None:
            raise RejectedError(f"no group {group_id}", code="NotExist.JobGroup")
        return self.counts

    def called_since(self, _group_id: JobGroupId, _since: datetime, limit: int) -> Sequence[CallJobId] | None:
        """Answer with the named jobs."""
        self.limits.append(limit)
        if isinstance(self.called, Exception):
            raise self.called
        return self.called


class Table:
    """A database with rows as the sink and the starter leave them."""

    def __init__(self, rows: Rows) -> None:
        self.dsn = rows.dsn
        self.execute = rows.execute
        self.store = PollStore(rows.pool)

    def add_task(self, task: TaskId = TASK, state: str | None = "calling", group: str | None = GROUP_ID) -> None:
        """A task that is due."""
        self.execute("insert into call_tasks (task_id, state, job_group_id) values (%s, %s, %s)", task, state, group)

    def add_row(self, number: int, job: str, status: str | None = None, page: int | None = 0, **task: str) -> None:
        """A lead's row with a job."""
        name = task.get("task", TASK)
        self.execute(
            "insert into leads_task_list (task_id, leads_id, leads_name, leads_phone, reference_id, call_job_id,"
            " call_status, page, settled_at) values (%s, %s, 'n', '1', %s, %s, %s, %s,"
            " case when %s in ('Succeeded', 'Failed', 'Cancelled', 'NotExist') then now() - interval '1 hour' end)",
            *(name, f"lead-{number}", f"{name}-ref-{number}", job, status, page, status),
        )

    def add_rows(self, count: int) -> None:
        """So many leads with jobs that wait, on their pages."""
        self.execute(
            "insert into leads_task_list"
            " (task_id, leads_id, leads_name, leads_phone, reference_id, call_job_id, call_status, page)"
            " select %s, 'lead-' || n, 'n', '1', 'ref-' || n, 'job-' || n, 'Scheduling', n / 99"
            " from generate_series(0, %s - 1) n",
            *(TASK, count),
        )

    def lease(self) -> Lease:
        """The one due task."""
        (lease,) = self.store.lease("test", 5)
        return lease

    def make_due(self, later: float = 0) -> None:
        """Let every task be due now, and its next look take place so many seconds later than the last."""
        self.execute(
            "update call_tasks set poll_due_at = now() - interval '1 s',"
            " observed_at = observed_at + make_interval(secs => %s)",
            later,
        )

    def due_in(self, task: TaskId = TASK) -> float:
        """How many seconds until a task is due."""
        ((seconds,),) = self.execute(
            "select extract(epoch from poll_due_at - now())::float from call_tasks where task_id = %s", task
        )
        return float(seconds)


class Bench(Table):
    """The same beside a broker, and pollers on both."""

    def __init__(self, topics: str, rows: Rows, publisher: Publisher) -> None:
        super().__init__(rows)
        self.topics = topics
        self.publisher = publisher
        self.audits = TaskAudits(rows.pool, Expander(rows.pool, publisher, SystemClock()), 60 * SECOND)

    def poller(self, cloud: Cloud, **core: float) -> Poller:
        """A quick poller that tests drive."""
        paces = {"poll_min_seconds": 0.5, "poll_max_seconds": 60, "not_exist_seconds": 600, **core}
        office = DeadLetterOffice(self.publisher, "callstream-poll")
        settings = settings_of(self.topics, self.dsn, **paces)
        return Poller(self.store, cloud, self.publisher, office, settings, SystemClock())

    def pages(self) -> list[JobsPolled]:
        """Everything that was published, oldest first."""
        return sorted(read_events(self.topics, JOBS_POLLED), key=lambda page: (page.observed_at, page.page_id))

    def statuses(self) -> dict[str, str]:
        """The status of every job that was published."""
        return {job.call_job_id: job.call_status for page in self.pages() for job in page.jobs}


@pytest.fixture
def table(rows: Rows) -> Table:
    """An empty migrated database."""
    return Table(rows)


@pytest.fixture
def bench(topics: str, rows: Rows, publisher: Publisher) -> Bench:
    """Clean topics, an empty migrated database and a producer."""
    return Bench(topics, rows, publisher)


def raw(job: str, status: str = "Executing", **fields: Any) -> dict[str, Any]:
    """A job as the cloud spells it."""
    return {"JobId": job, "Status": status, **fields}


def test_a_lease_is_exclusive_and_its_instant_grows(table: Table) -> None:
    """One poller has a task at a time; each lease observes later than the one before, in whole milliseconds."""
    table.add_task()
    table.execute("update call_tasks set observed_at = date_trunc('milliseconds', now()) + interval '1 hour'")
    first = table.lease()
    assert table.store.lease("other", 5) == []
    table.store.release(first, timedelta(0))
    second = table.lease()
    assert second.observed_at - first.observed_at == timedelta(milliseconds=1)
    assert first.observed_at.microsecond % 1000 == 0


def test_a_lease_that_ended_is_taken_by_another_and_lost_to_the_first(table: Table) -> None:
    """The first can neither renew nor give back what it no longer has."""
    table.add_task()
    first = table.lease()
    assert table.store.renew(first)
    table.execute("update call_tasks set poll_leased_until = now() - interval '1 s'")
    table.make_due()
    (second,) = table.store.lease("other", 5)
    assert not table.store.renew(first)
    table.store.release(first, timedelta(0), is_done=True)
    assert table.execute("select state, poll_leased_by from call_tasks") == [("calling", "other")]
    assert table.store.renew(second)


def test_a_request_during_a_look_is_not_lost(table: Table) -> None:
    """The task is due at once although the look ended later, and a repair asked for meanwhile is still to be done."""
    table.add_task()
    table.execute("update call_tasks set repair_requested = true")
    lease = table.lease()
    assert lease.repair_requested
    assert table.store.request(TASK, repair=True)
    table.store.release(lease, timedelta(hours=1), is_repaired=True)
    assert table.due_in() <= 0
    lease = table.lease()
    assert lease.repair_requested
    table.store.release(lease, timedelta(hours=1), is_repaired=True)
    assert table.due_in() > 3000
    assert table.execute("select repair_requested from call_tasks") == [(False,)]


def test_jobs_that_somebody_else_assigned_get_a_page_for_life(table: Table) -> None:
    """Places go on where the starter's ended, and a second look changes nothing."""
    table.add_task()
    table.execute("update call_tasks set next_ordinal = 98")
    for number in range(3):
        table.add_row(number, f"job-{number}", page=None)
    table.add_row(3, "job-3", page=0)
    lease = table.lease()
    rows = table.store.rows(lease, Scope.OPEN)
    assert {row.job_id: row.page for row in rows} == {"job-0": 0, "job-1": 1, "job-2": 1, "job-3": 0}
    assert table.store.rows(lease, Scope.OPEN) == rows
    assert table.execute("select next_ordinal from call_tasks") == [(101,)]


def test_pages_of_a_real_group_are_published(bench: Bench, cloud: CloudSimulator) -> None:
    """120 jobs on two pages: two full-as-can-be calls, every job in its page, all at the instant of the lease."""
    client = client_of(cloud)
    group = client.create_job_group("task", GroupOptions())
    for start in range(0, 120, 20):
        names = [ReferenceId(f"{TASK}-ref-{number}") for number in range(start, start + 20)]
        client.assign_jobs(group, [Contact(reference_id=name, name="n", phone_number="13800000000") for name in names])
    bench.add_task(group=group)
    for number, (reference, jobs) in enumerate(sorted(client.list_group(group).items())):
        bench.add_row(int(reference.rpartition("-")[2]), jobs[0], page=number // 99)
    lease = bench.lease()
    bench.poller(client).poll_task(lease)
    assert 0 < bench.due_in() <= 1
    pages = bench.pages()
    assert {page.page_id for page in pages} == {page_id_for(TASK, 0), page_id_for(TASK, 1)}
    assert sum(len(page.jobs) for page in pages) == 120
    assert {page.observed_at for page in pages} == {lease.observed_at}
    assert {message.key() for message in read_messages(bench.topics, JOBS_POLLED.name)} == {
        page.page_id.encode() for page in pages
    }
    assert cloud.calls()["max_ids"]["ListJobs"] == 99
    assert cloud.calls()["actions"]["ListJobs"] == {"OK": 2}


def test_where_the_counts_agree_nothing_is_listed(bench: Bench) -> None:
    """One cheap call; a count that differs, or a listing too long ago, has the jobs listed."""
    bench.add_task()
    bench.add_row(1, "job-1", "Executing")
    bench.add_row(2, "job-2", "Succeeded")
    cloud = ScriptedCloud({"job-1": raw("job-1")}, Counts({"Executing": 1, "Scheduling": 0, "Failed": 0}))
    poller = bench.poller(cloud)
    poller.poll_task(bench.lease())
    assert cloud.listings == [["job-1"]]
    bench.make_due()
    poller.poll_task(bench.lease())
    assert len(cloud.listings) == 1
    cloud.counts = Counts({"Executing": 0, "Scheduling": 0, "Failed": 1})
    bench.make_due()
    poller.poll_task(bench.lease())
    assert len(cloud.listings) == 2
    assert len(bench.pages()) == 2


def test_a_repair_lists_ended_jobs_too(bench: Bench) -> None:
    """Every job of the task is in a page that says that it is to be emitted again."""
    bench.add_task(state="done")
    bench.add_row(1, "job-1", "Succeeded")
    bench.store.request(TASK, repair=True)
    poller = bench.poller(ScriptedCloud({"job-1": raw("job-1", "Succeeded")}))
    poller.poll_task(bench.lease())
    (page,) = bench.pages()
    assert page.repair
    assert bench.execute("select repair_requested from call_tasks") == [(False,)]
    assert bench.due_in() > 3600


def test_a_job_that_cannot_be_mapped_does_not_spoil_its_page(bench: Bench) -> None:
    """The others are published; the raw job becomes a dead letter once, with the page's key and the field's name."""
    bench.add_task()
    bench.add_row(1, "job-1")
    bench.add_row(2, "job-2")
    bad = raw("job-2", Tasks="none")
    poller = bench.poller(ScriptedCloud({"job-1": raw("job-1"), "job-2": bad}))
    for _ in range(2):
        bench.make_due()
        poller.poll_task(bench.lease())
    assert bench.statuses() == {"job-1": "Executing"}
    (letter,) = read_messages(bench.topics, JOBS_POLLED.dead_letters)
    origin = Origin.of(letter)
    assert orjson.loads(origin.value or b"") == bad
    assert origin.key == page_id_for(TASK, 0).encode()
    assert b"Tasks" in (dict(origin.headers)["__connect.errors.exception.message"] or b"")


def test_of_a_large_task_only_what_moved_is_listed(bench: Bench) -> None:
    """One call names it, one lists it, with the rows that show a call; naming too many, or none at all, lists all."""
    bench.add_task()
    bench.add_rows(400)
    bench.execute("update leads_task_list set call_status = 'Executing' where call_job_id = 'job-7'")
    jobs = {f"job-{number}": raw(f"job-{number}", "Scheduling") for number in range(400)}
    cloud = ScriptedCloud(jobs, Counts({"Scheduling": 399, "Executing": 1}))
    poller = bench.poller(cloud)
    poller.poll_task(bench.lease())
    assert sorted(map(len, cloud.listings)) == [4, 99, 99, 99, 99]
    outcomes: list[list[CallJobId] | Exception | None] = [
        [CallJobId("job-3"), CallJobId("stranger")],
        None,
        CredentialsError("the cloud says NoPermission"),
    ]
    listed = []
    for number, outcome in enumerate(outcomes):
        cloud.called = outcome
        cloud.counts = Counts({"Scheduling": 390 - number, "Executing": 10 + number})
        cloud.listings.clear()
        bench.make_due()
        poller.poll_task(bench.lease())
        listed.append(sorted(job_id for call in cloud.listings for job_id in call))
    assert listed == [["job-3", "job-7"], sorted(jobs), sorted(jobs)]
    assert cloud.limits == [133] * 3


def test_jobs_of_strangers_in_the_group_are_not_chased(bench: Bench) -> None:
    """Counts that never agree cost two listings; what one look learns the next one knows, by the database."""
    bench.add_task()
    bench.add_rows(400)
    cloud = ScriptedCloud({f"job-{number}": raw(f"job-{number}", "Scheduling") for number in range(400)}, called=[])
    cloud.counts = Counts({"Scheduling": 407, "Executing": 3})
    for _ in range(6):
        bench.make_due()
        bench.poller(cloud).poll_task(bench.lease())
    assert len(cloud.listings) == 5
    cloud.counts = Counts({"Scheduling": 406, "Executing": 4})
    for _ in range(4):
        bench.make_due()
        bench.poller(cloud).poll_task(bench.lease())
    assert len(cloud.listings) == 10
    assert len(cloud.limits) == 1


@pytest.mark.parametrize("code", ["NotExist.Job", "InvalidParameter.JobId", None])
def test_a_job_that_the_cloud_does_not_know_ends_after_a_while(bench: Bench, code: str | None) -> None:
    """Whether the cloud refuses the call or leaves the job out: 98 are seen, it is asked for alone, and not each time.

    The verdict takes its time; and a job of that name that the cloud names as called lately is looked at again.
    """
    bench.add_task()
    known = {f"job-{number}": raw(f"job-{number}") for number in range(98)}
    bench.add_rows(99)
    cloud = ScriptedCloud(known, unknown_code=code)
    poller = bench.poller(cloud)
    poller.poll_task(bench.lease())
    assert set(bench.statuses()) == set(known)
    assert len(cloud.listings) == (1 if code is None else 15)
    cloud.listings.clear()
    bench.make_due()
    poller.poll_task(bench.lease())
    assert [len(call) for call in cloud.listings] == [98]
    bench.make_due(later=61)
    poller.poll_task(bench.lease())
    assert sorted(len(call) for call in cloud.listings[1:]) == [1, 98]
    assert "job-98" not in bench.statuses()
    bench.make_due(later=540)
    poller.poll_task(bench.lease())
    assert bench.statuses()["job-98"] == "NotExist"
    bench.execute(
        "update leads_task_list set call_status = 'NotExist', settled_at = now() where call_job_id = 'job-98'"
    )
    bench.make_due()
    lease = bench.lease()
    assert "job-98" not in {row.job_id for row in bench.store.rows(lease, Scope.OPEN)}
    assert [row.job_id for row in bench.store.rows(lease, Scope.SETTLED, [CallJobId("job-98")])] == ["job-98"]


def test_a_cloud_that_takes_no_id_at_all_ends_nobody(bench: Bench) -> None:
    """Where every id is refused as a parameter something else is wrong: the look fails, no row is called unknown."""
    bench.add_task()
    bench.add_rows(3)
    poller = bench.poller(ScriptedCloud(unknown_code="InvalidParameter"), not_exist_seconds=0.1)
    for _ in range(3):
        poller.poll_task(bench.lease())
        assert bench.due_in() > 0
        bench.make_due()
        time.sleep(0.1)
    assert bench.statuses() == {}


def test_a_repair_lists_ended_jobs_that_came_back(bench: Bench) -> None:
    """A row that says NotExist is asked for too, and gets what the cloud knows by now."""
    bench.add_task(state="done")
    bench.add_row(1, "job-1", "NotExist")
    bench.store.request(TASK, repair=True)
    bench.poller(ScriptedCloud({"job-1": raw("job-1", "Succeeded")})).poll_task(bench.lease())
    assert bench.statuses() == {"job-1": "Succeeded"}


def test_a_failing_cloud_makes_the_task_later_and_nothing_else(bench: Bench) -> None:
    """What the cloud asks for is honoured; the instant of the listing does not move."""
    bench.add_task()
    bench.add_row(1, "job-1")
    cloud = ScriptedCloud({"job-1": raw("job-1")}, errors=[RetryableError("busy", retry_after=30)])
    poller = bench.poller(cloud)
    poller.poll_task(bench.lease())
    assert 25 < bench.due_in() <= 30
    assert bench.execute("select poll_standing, poll_leased_by from call_tasks") == [({}, None)]
    bench.make_due()
    poller.poll_task(bench.lease())
    assert bench.statuses() == {"job-1": "Executing"}


def test_a_running_poller_finds_open_rows_and_announces_the_end(bench: Bench) -> None:
    """A task nobody scheduled is found; a started one whose jobs all ended is done, once; stopping takes seconds."""
    stray = TaskId("stray")
    bench.add_row(1, "job-1", "Scheduling", task=stray)
    bench.add_task()
    bench.add_row(2, "job-2", "Succeeded")
    bench.execute(
        "insert into call_tasks (task_id, state, poll_due_at) values ('asleep', 'calling', now() + interval '1 day')"
    )
    poller = bench.poller(ScriptedCloud({"job-1": raw("job-1")}))
    bench.audits.audit()
    with running("poll", lambda service: lambda: poller.run(service)):
        (done,) = wait_for_events(bench.topics, TASK_STATE_CHANGED, lambda events: len(events) == 1)
        wait_until(lambda: bench.statuses() == {"job-1": "Executing"}, seconds=10, what="the stray job")
        wait_until(lambda: bench.due_in(TaskId("asleep")) < 60, seconds=10, what="the sleeper")
    assert (done.task_id, done.state) == (TASK, "done")
    assert bench.execute("select state from call_tasks where task_id = %s", TASK) == [("done",)]


def test_a_call_that_just_ended_is_listed_once_more(bench: Bench) -> None:
    """The row showed the end some seconds ago and was not listed since: once more, then the task is done."""
    bench.add_task()
    bench.add_row(1, "job-1", "Executing")
    cloud = ScriptedCloud({"job-1": raw("job-1", "Succeeded")})
    poller = bench.poller(cloud)
    poller.poll_task(bench.lease())
    bench.execute("update leads_task_list set call_status = 'Succeeded', settled_at = clock_timestamp()")
    assert 0 < bench.due_in() <= 4
    for _ in range(3):
        bench.make_due(later=4)
        poller.poll_task(bench.lease())
    assert cloud.listings == [["job-1"], ["job-1"]]
    assert bench.execute("select state from call_tasks") == [("done",)]
