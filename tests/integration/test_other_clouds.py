"""Starter and poller against a cloud with other manners than the simulator's: they rely on what is documented only."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, cast

import psycopg
import pytest
from pydantic import SecretStr

from producers.assignment import AssignmentPolicy
from producers.cloud.client import CloudClient
from producers.poll_store import PollStore
from producers.poller import Poller
from producers.starter import Starter
from producers.task_store import TaskStore
from runtime.clock import SystemClock
from runtime.dead_letters import DeadLetterOffice
from runtime.kafka import Publisher
from runtime.postgres import Database
from runtime.settings import CloudSettings
from schemas.ids import TaskId
from schemas.tasks import StartRequested
from schemas.topics import JOB_ASSIGNED, JOBS_POLLED
from tests.fixtures.kept_records import KeptRecords
from tests.fixtures.other_cloud import ENDS, Manners, OtherCloud, other_cloud
from tests.fixtures.shells import settings_of

TASK = TaskId("task-1")
LEADS = 131
SECOND = timedelta(seconds=1)
MANNERS = {
    "as documented": Manners(),
    "small pages, counts as texts": Manners(largest_page=20, texts_for_counts=True),
    "null for nothing, references in contacts only": Manners(empty="null", reference_in="contact"),
    "nothing for nothing, references in jobs only": Manners(empty="absent", reference_in="job"),
    "no counts, zero for no time": Manners(progress="none", zero_for_no_time=True),
    "totals only, unknown ids fail the call": Manners(progress="totals", unknown_id="404"),
    "failures that come with 200": Manners(unknown_id="success-false"),
}


class Life:
    """Starter and poller of one task; the test does the sink's work."""

    def __init__(self, database: Database, dsn: str, cloud: OtherCloud) -> None:
        self._dsn = dsn
        self._kept = KeptRecords()
        publisher = cast(Publisher, self._kept)
        cloud_settings = CloudSettings(
            access_key_id="key",
            access_key_secret=SecretStr("secret"),
            instance_id=cloud.instance_id,
            endpoint=cloud.endpoint,
            protocol="http",
            max_qps=500,
        )
        client, clock = CloudClient(cloud_settings), SystemClock()
        self._tasks = TaskStore(database, worker="one")
        self._starter = Starter(
            store=self._tasks,
            cloud=client,
            publisher=publisher,
            policy=AssignmentPolicy(call_timeout=SECOND, settle=SECOND),
            settings=cloud_settings,
            clock=clock,
        )
        self._polls = PollStore(database)
        settings = settings_of("nowhere", dsn, poll_min_seconds=0.05, poll_max_seconds=60, not_exist_seconds=60)
        office = DeadLetterOffice(publisher, "g")
        self._poller = Poller(self._polls, client, publisher, office, settings, clock)

    def sql(self, text: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Say something to the database."""
        with psycopg.connect(self._dsn) as connection:
            cursor = connection.execute(text.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def start(self) -> None:
        """Let the task be started, and looked at twice."""
        self._starter.request(StartRequested(task_id=TASK))
        for _ in range(2):
            self.sql("update call_tasks set assign_due_at = now()")
            for task in self._tasks.lease(1):
                self._starter.work(task)
        with psycopg.connect(self._dsn) as connection, connection.cursor() as cursor:
            cursor.executemany(
                "update leads_task_list set call_job_id = %s where reference_id = %s",
                [(event.call_job_id, event.reference_id) for event in self._kept.events(JOB_ASSIGNED)],
            )

    def look(self) -> None:
        """One look, five seconds after the last."""
        self.sql("update call_tasks set poll_due_at = now(), observed_at = observed_at + interval '5 s'")
        for lease in self._polls.lease("one", 1):
            self._poller.poll_task(lease)
        with psycopg.connect(self._dsn) as connection, connection.cursor() as cursor:
            cursor.executemany(
                "update leads_task_list set call_status = %s where call_job_id = %s",
                [(job.call_status, job.call_job_id) for page in self.pages() for job in page.jobs],
            )

    def pages(self) -> list[Any]:
        """What the poller has published."""
        return self._kept.events(JOBS_POLLED)

    def topics(self) -> set[str]:
        """Where anything was published."""
        return {record.topic for record in self._kept.records}


@contextmanager
def life(dsn: str, cloud: OtherCloud) -> Iterator[Life]:
    """A database with the task's leads."""
    database = Database(dsn, name="test")
    database.open()
    try:
        life = Life(database, dsn, cloud)
        life.sql(
            "insert into leads_task_list (task_id, leads_id, leads_name, leads_phone, reference_id)"
            " select %s, n, 'n', '138' || n, 'reference-' || n from generate_series(1, %s) n",
            *(TASK, LEADS),
        )
        yield life
    finally:
        database.close()


@pytest.mark.parametrize("name", MANNERS)
def test_a_task_goes_from_its_start_to_its_end_whatever_the_clouds_manners(name: str, database: str) -> None:
    """130 leads are assigned once, one is refused, one job is unknown: the end of all others is published."""
    with other_cloud(MANNERS[name]) as cloud, life(database, cloud) as task:
        cloud.groups |= {f"other-{number}": f"callstream-{number}" for number in range(120)}
        task.sql("update leads_task_list set leads_phone = 'nobody' where leads_id = '7'")
        task.start()
        assert len(cloud.jobs) == len(cloud.references()) == LEADS - 1
        assert len(cloud.groups) == 121
        assert task.sql("select leads_id, call_job_id from leads_task_list where assign_refused is not null") == [
            ("7", "")
        ]
        task.sql("update leads_task_list set call_job_id = 'unknown' where leads_id = '7'")
        for _ in range(5):
            task.look()
        ended = {job.call_job_id for page in task.pages() for job in page.jobs if job.call_status in ENDS}
        assert ended == cloud.jobs.keys()
        assert JOBS_POLLED.dead_letters not in task.topics()
