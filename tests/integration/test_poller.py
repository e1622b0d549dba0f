"""The poller on a real PostgreSQL, a real Kafka and the simulated cloud: what it lists, publishes and gives back."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import orjson
import psycopg
import pytest
from pydantic import SecretStr

from devtools.cloud.process import CloudSimulator
from devtools.processes import wait_until
from producers.cloud.client import CloudClient
from producers.cloud.payloads import Contact, GroupOptions
from producers.poll_store import PollStore
from producers.poller import Poller
from producers.schedule import Lease
from runtime.clock import SystemClock
from runtime.dead_letters import DeadLetterOffice, Origin
from runtime.errors import RejectedError, RetryableError
from runtime.kafka import Publisher
from runtime.postgres import Database
from runtime.service import Service
from runtime.settings import AnalysisSettings, CloudSettings, CoreSettings, KafkaSettings, Settings
from schemas.ids import CallJobId, JobGroupId, ReferenceId, TaskId, page_id_for
from schemas.jobs import JobsPolled
from schemas.topics import JOBS_POLLED, TASK_STATE_CHANGED
from tests.fixtures.topics import read_events, read_messages, wait_for_events

TASK = TaskId("task-1")
GROUP_ID = JobGroupId("group-1")
SECOND = timedelta(seconds=1)


@dataclass
class Counts:
    """A group's progress."""

    total: int
    by_status: Mapping[str, int]


@dataclass
class ScriptedCloud:
    """A cloud of few words: jobs by id, counts, and errors to be raised; remembers the ids of every listing."""

    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    counts: Counts | None = None
    errors: list[Exception] = field(default_factory=list)
    listings: list[list[str]] = field(default_factory=list)
    must_know: bool = False

    def list_jobs(self, ids: Sequence[CallJobId]) -> Sequence[Mapping[str, Any]]:
        """Answer as the script says."""
        self.listings.append([str(job_id) for job_id in ids])
        if self.errors:
            raise self.errors.pop(0)
        if self.must_know and any(job_id not in self.jobs for job_id in ids):
            raise RejectedError("the cloud says NotExist.Job", code="NotExist.Job")
        return [self.jobs[job_id] for job_id in ids if job_id in self.jobs]

    def describe_job_group(self, group_id: JobGroupId) -> Counts:
        """Answer with the counts, or know no such group."""
        if self.counts is None:
            raise RejectedError(f"no group {group_id}", code="NotExist.JobGroup")
        return self.counts


class Table:
    """A database with rows as the sink and the starter leave them."""

    def __init__(self, dsn: str, database: Database) -> None:
        self.dsn = dsn
        self.database = database
        self.store = PollStore(database)

    def execute(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Rows of a statement, or none."""
        with psycopg.connect(self.dsn) as connection:
            cursor = connection.execute(sql.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def add_task(self, task: TaskId = TASK, state: str | None = "calling", group: str | None = GROUP_ID) -> None:
        """A task that is due."""
        self.execute("insert into call_tasks (task_id, state, job_group_id) values (%s, %s, %s)", task, state, group)

    def add_row(self, number: int, job: str, status: str | None = None, page: int | None = 0, **task: str) -> None:
        """A lead's row with a job."""
        name = task.get("task", TASK)
        self.execute(
            "insert into leads_task_list (task_id, leads_id, leads_name, leads_phone, reference_id, call_job_id,"
            " call_status, page, settled_at) values (%s, %s, 'n', '1', %s, %s, %s, %s,"
            " case when %s in ('Succeeded', 'Failed', 'Cancelled') then now() - interval '1 hour' end)",
            *(name, f"lead-{number}", f"{name}-ref-{number}", job, status, page, status),
        )

    def lease(self) -> Lease:
        """The one due task."""
        (lease,) = self.store.lease("test", 5)
        return lease

    def make_due(self) -> None:
        """Let every task be due now."""
        self.execute("update call_tasks set poll_due_at = now() - interval '1 s'")

    def due_in(self, task: TaskId = TASK) -> float:
        """How many seconds until a task is due."""
        ((seconds,),) = self.execute(
            "select extract(epoch from poll_due_at - now())::float from call_tasks where task_id = %s", task
        )
        return float(seconds)


class Bench(Table):
    """The same beside a broker, and pollers on both."""

    def __init__(self, topics: str, dsn: str, publisher: Publisher, database: Database) -> None:
        super().__init__(dsn, database)
        self.topics = topics
        self.publisher = publisher

    def settings(self, **core: float) -> Settings:
        """Settings of a quick poller."""
        paces = {"poll_min_seconds": 0.5, "poll_max_seconds": 60, "not_exist_seconds": 600, **core}
        return Settings(
            kafka=KafkaSettings(bootstrap_servers=self.topics),
            cloud=CloudSettings(),
            analysis=AnalysisSettings(),
            core=CoreSettings(postgres_dsn=SecretStr(self.dsn), **paces),  # type: ignore[arg-type]
        )

    def poller(self, cloud: Any, **core: float) -> Poller:
        """A poller that tests drive."""
        office = DeadLetterOffice(self.publisher, "callstream-poll")
        return Poller(self.database, cloud, self.publisher, office, self.settings(**core), SystemClock())

    def pages(self) -> list[JobsPolled]:
        """Everything that was published, oldest first."""
        return sorted(read_events(self.topics, JOBS_POLLED), key=lambda page: (page.observed_at, page.page_id))

    def statuses(self) -> dict[str, str]:
        """The status of every job that was published."""
        return {job.call_job_id: job.call_status for page in self.pages() for job in page.jobs}

    @contextmanager
    def running(self, poller: Poller) -> Iterator[Service]:
        """A poller that runs in a thread."""
        service = Service(role="poll", host="127.0.0.1", port=0, checks={})
        thread = threading.Thread(target=poller.run, args=(service,))
        with service:
            thread.start()
            try:
                yield service
            finally:
                service.stopping.set()
                thread.join(10)
                assert not thread.is_alive()


@pytest.fixture
def table(database: str) -> Iterator[Table]:
    """An empty migrated database."""
    pool = Database(database, name="poll")
    pool.open()
    yield Table(database, pool)
    pool.close()


@pytest.fixture
def bench(topics: str, table: Table, publisher: Publisher) -> Bench:
    """Clean topics, an empty migrated database and a producer."""
    return Bench(topics, table.dsn, publisher, table.database)


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
    table.store.release(lease, timedelta(hours=1), is_listed=True, is_repaired=True)
    assert table.due_in() <= 0
    lease = table.lease()
    assert lease.repair_requested
    table.store.release(lease, timedelta(hours=1), is_listed=True, is_repaired=True)
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
    rows = table.store.open_rows(lease)
    assert {row.job_id: row.page for row in rows} == {"job-0": 0, "job-1": 1, "job-2": 1, "job-3": 0}
    assert table.store.open_rows(lease) == rows
    assert table.execute("select next_ordinal from call_tasks") == [(101,)]


def test_pages_of_a_real_group_are_published(bench: Bench, cloud: CloudSimulator) -> None:
    """120 jobs on two pages: two full-as-can-be calls, every job in its page, all at the instant of the lease."""
    client = CloudClient(
        CloudSettings(
            access_key_id=cloud.access_key_id,
            access_key_secret=SecretStr(cloud.access_key_secret),
            instance_id=cloud.instance_id,
            endpoint=cloud.endpoint,
            protocol="http",
            max_qps=100,
        )
    )
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
    cloud = ScriptedCloud({"job-1": raw("job-1")}, Counts(2, {"Executing": 1, "Scheduling": 0, "Failed": 0}))
    poller = bench.poller(cloud)
    poller.poll_task(bench.lease())
    assert cloud.listings == [["job-1"]]
    bench.make_due()
    poller.poll_task(bench.lease())
    assert len(cloud.listings) == 1
    cloud.counts = Counts(2, {"Executing": 0, "Scheduling": 0, "Failed": 1})
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
    assert b"Tasks" in dict(origin.headers)["__connect.errors.exception.message"]


@pytest.mark.parametrize("must_know", [True, False])
def test_a_job_that_the_cloud_does_not_know_ends_after_a_while(bench: Bench, *, must_know: bool) -> None:
    """Whether the cloud refuses the call or leaves the job out, the others are seen, and the verdict takes its time."""
    bench.add_task()
    known = {f"job-{number}": raw(f"job-{number}") for number in range(8)}
    for number in range(9):
        bench.add_row(number, f"job-{number}")
    cloud = ScriptedCloud(known, must_know=must_know)
    poller = bench.poller(cloud, not_exist_seconds=0.5)
    poller.poll_task(bench.lease())
    assert set(bench.statuses()) == set(known)
    bench.execute("select pg_sleep(0.6)")
    bench.make_due()
    poller.poll_task(bench.lease())
    assert bench.statuses()["job-8"] == "NotExist"
    assert cloud.listings[-1] == ["job-8"] or cloud.listings[-2] == ["job-8"]


def test_a_failing_cloud_makes_the_task_later_and_nothing_else(bench: Bench) -> None:
    """What the cloud asks for is honoured; the instant of the listing does not move."""
    bench.add_task()
    bench.add_row(1, "job-1")
    cloud = ScriptedCloud({"job-1": raw("job-1")}, errors=[RetryableError("busy", retry_after=30)])
    poller = bench.poller(cloud)
    poller.poll_task(bench.lease())
    assert 25 < bench.due_in() <= 30
    assert bench.execute("select listed_at, poll_leased_by from call_tasks") == [(None, None)]
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
    with bench.running(bench.poller(ScriptedCloud({"job-1": raw("job-1")}))):
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
    bench.execute("update call_tasks set listed_at = listed_at - interval '5 s'")
    bench.execute("update leads_task_list set settled_at = settled_at - interval '4 s'")
    for _ in range(3):
        bench.make_due()
        poller.poll_task(bench.lease())
    assert cloud.listings == [["job-1"], ["job-1"]]
    assert bench.execute("select state from call_tasks") == [("done",)]
