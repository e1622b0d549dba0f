"""The sink on a real Kafka and a real PostgreSQL: what reaches the table, in how many statements, and what does not."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
import psycopg
import pytest
from confluent_kafka.admin import AdminClient
from pydantic import SecretStr

from devtools.fault_proxy import FaultProxy
from devtools.postgres import EmbeddedPostgres
from devtools.processes import wait_until
from runtime.clock import SystemClock
from runtime.dead_letters import DeadLetterOffice
from runtime.kafka import Outgoing, Publisher, as_bytes, headers_of, make_consumer, make_producer, outgoing
from runtime.postgres import Database
from runtime.service import Service
from runtime.settings import AnalysisSettings, CloudSettings, CoreSettings, KafkaSettings, Settings
from schemas.codec import encode
from schemas.followups import FollowedUp
from schemas.ids import (
    CallJobId,
    CallTaskId,
    EventId,
    JobGroupId,
    LeadId,
    ReferenceId,
    TaskId,
    follow_up_id_for,
    reference_id_for,
)
from schemas.jobs import JobAssigned, JobRecorded, StatusChanged, Turn
from schemas.leads import LeadAdded
from schemas.topics import FOLLOWED_UP, JOB_ASSIGNED, JOB_RECORDED, LEAD_ADDED, STATUS_CHANGED, AnyTopic
from sinks.batches import BatchPolicy
from sinks.loop import GROUP, Sink
from sinks.writer import Writer
from tests.fixtures.postgres import log_mark, statements
from tests.fixtures.topics import committed, read_messages, reason_of

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
TASK = TaskId("task-1")


def lead(number: int, **changes: Any) -> LeadAdded:
    """A lead of the test's task."""
    event = LeadAdded(
        task_id=TASK, leads_id=LeadId(f"lead-{number}"), leads_name=f"name {number}", leads_phone=f"138{number:08d}"
    )
    return msgspec.structs.replace(event, **changes)


def assigned(number: int, job: str | None = None) -> JobAssigned:
    """The assignment of a lead."""
    return JobAssigned(
        event_id=EventId(f"assigned-{number}"),
        task_id=TASK,
        reference_id=reference_id_for(TASK, LeadId(f"lead-{number}")),
        call_job_id=CallJobId(job or f"job-{number}"),
        job_group_id=JobGroupId("group"),
        assigned_at=NOW,
    )


def status(number: int, version: int, call_status: str = "Executing", **changes: Any) -> StatusChanged:
    """A snapshot of a lead's job."""
    event = StatusChanged(
        event_id=EventId(f"status-{number}-{version}"),
        task_id=TASK,
        reference_id=ReferenceId(f"ref-{number}"),
        call_job_id=CallJobId(f"job-{number}"),
        version=version,
        observed_at=NOW,
        call_status=call_status,
        call_conversation=(Turn(speaker="Robot", script='你好，"quoted" 😀', at=NOW),),
        changed=("call_status",),
        is_terminal=call_status in {"Succeeded", "Failed"},
    )
    return msgspec.structs.replace(event, **changes)


def follow_up(number: int, version: int, interest: int) -> FollowedUp:
    """A follow-up of a lead's job."""
    job = CallJobId(f"job-{number}")
    return FollowedUp(
        event_id=EventId(f"follow-{number}-{version}"),
        task_id=TASK,
        call_job_id=job,
        leads_follow_id=follow_up_id_for(job),
        version=version,
        is_interested=interest,
        summary=f"version {version}",
        analyzer="rules",
        is_forced=False,
        analyzed_at=NOW,
    )


class Bench:
    """Sends events, runs sinks on them, and looks at the table."""

    def __init__(self, topics: str, database: str, publisher: Publisher, admin: AdminClient) -> None:
        self.settings = Settings(
            kafka=KafkaSettings(bootstrap_servers=topics),
            cloud=CloudSettings(),
            analysis=AnalysisSettings(),
            core=CoreSettings(postgres_dsn=SecretStr(database)),
        )
        self.publisher = publisher
        self.admin = admin

    def send(self, topic: AnyTopic, *events: Any) -> None:
        """Publish events."""
        self.publisher.publish(outgoing(topic, event, source="test") for event in events)

    @contextmanager
    def sink(self, *, park_seconds: float = 3600) -> Iterator[Service]:
        """A sink that runs in a thread."""
        database = Database(self.settings.dsn, name="sink", is_steady=True)
        database.open()
        service = Service(role="sink", host="127.0.0.1", port=0, checks={})
        sink = Sink(
            consumer=make_consumer(self.settings, GROUP),
            writer=Writer(database, DeadLetterOffice(self.publisher, GROUP), park_seconds=park_seconds),
            policy=BatchPolicy(rows=1000, seconds=0.2),
            service=service,
            clock=SystemClock(),
        )
        failures: list[BaseException] = []

        def run() -> None:
            try:
                sink.run()
            except BaseException as error:  # noqa: BLE001 - handed to the test
                failures.append(error)

        thread = threading.Thread(target=run)
        with service:
            thread.start()
            try:
                yield service
            finally:
                service.stopping.set()
                thread.join(20)
                database.close()
        if failures:
            raise failures[0]

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of a question to the database."""
        with psycopg.connect(self.settings.dsn) as connection:
            return connection.execute(sql.encode()).fetchall()

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for something to become true."""
        wait_until(condition, seconds=20, what=what, interval=0.05)

    def wait_for_commit(self, topic: AnyTopic, count: int) -> None:
        """Wait until the group has committed `count` records of a topic."""
        self.wait(lambda: committed(self.admin, GROUP, topic.name) >= count, f"{count} of {topic.name} committed")


@pytest.fixture
def bench(topics: str, database: str, publisher: Publisher, kafka_admin: AdminClient) -> Bench:
    """Clean topics, an empty migrated database and a producer."""
    return Bench(topics, database, publisher, kafka_admin)


def test_a_backlog_of_leads_is_inserted_by_at_most_two_statements(
    bench: Bench, postgres_server: EmbeddedPostgres
) -> None:
    """1,000 leads, each sent twice, are 1,000 rows and at most 2 INSERTs in the server's own log."""
    bench.send(LEAD_ADDED, *(lead(i) for i in range(1000)))
    mark = log_mark(postgres_server)
    with bench.sink():
        bench.wait_for_commit(LEAD_ADDED, 1000)
    inserts = [text for text in statements(postgres_server, "callstream-sink", mark) if "insert_leads" in text]
    assert 1 <= len(inserts) <= 2
    bench.send(LEAD_ADDED, *(lead(i) for i in range(1000)))
    with bench.sink():
        bench.wait_for_commit(LEAD_ADDED, 2000)
    assert bench.query("select count(*), count(distinct reference_id) from leads_task_list") == [(1000, 1000)]


def test_a_page_of_changes_is_one_statement(bench: Bench, postgres_server: EmbeddedPostgres) -> None:
    """20 changed jobs are one UPDATE; the same again changes no row."""
    bench.send(LEAD_ADDED, *(lead(i) for i in range(20)))
    bench.send(JOB_ASSIGNED, *(assigned(i) for i in range(20)))
    with bench.sink():
        bench.wait_for_commit(JOB_ASSIGNED, 20)
        mark = log_mark(postgres_server)
        bench.send(STATUS_CHANGED, *(status(i, 5) for i in range(20)))
        bench.wait_for_commit(STATUS_CHANGED, 20)
    updates = [text for text in statements(postgres_server, "callstream-sink", mark) if "apply_statuses" in text]
    assert len(updates) == 1
    assert bench.query("select count(*) from leads_task_list where call_status = 'Executing'") == [(20,)]


def test_every_kind_reaches_its_columns_whatever_order_it_comes_in(bench: Bench) -> None:
    """Follow-ups, recordings, statuses and assignments that come before their lead are parked and applied later."""
    done = status(1, 7, "Succeeded", call_task_id=CallTaskId("attempt-1"), ended_at=NOW)
    recording = JobRecorded(
        event_id=EventId("recorded-1"),
        call_job_id=CallJobId("job-1"),
        call_task_id=CallTaskId("attempt-1"),
        recording_url="https://recordings.example/1",
        recorded_at=NOW,
    )
    with bench.sink():
        bench.send(FOLLOWED_UP, follow_up(1, 3, 1))
        bench.send(JOB_RECORDED, recording)
        bench.send(STATUS_CHANGED, status(1, 6), done)
        bench.wait_for_commit(STATUS_CHANGED, 2)
        bench.send(JOB_ASSIGNED, assigned(1))
        bench.wait_for_commit(JOB_ASSIGNED, 1)
        assert bench.query("select count(*) from parked_records") == [(4,)]
        bench.send(LEAD_ADDED, lead(1))
        bench.wait(lambda: bench.query("select count(*) from parked_records") == [(0,)], "nothing parked")
    [row] = bench.query(
        "select call_job_id, call_status, status_version, recording_url, is_interested, leads_follow_id, ended_at,"
        " call_conversation from leads_task_list"
    )
    assert row[:7] == (
        "job-1", "Succeeded", 7, "https://recordings.example/1", 1, follow_up_id_for(CallJobId("job-1")), NOW,
    )  # fmt: skip
    assert row[7] == [{"speaker": "Robot", "script": '你好，"quoted" 😀', "at": "2026-11-23T08:00:00Z"}]
    assert bench.query("select leads_id, task_id, is_interested from leads_follow") == [("lead-1", "task-1", 1)]


def test_older_versions_change_nothing(bench: Bench) -> None:
    """A replay in any order leaves the newest version of status and follow-up in the row."""
    bench.send(LEAD_ADDED, lead(1))
    bench.send(JOB_ASSIGNED, assigned(1))
    bench.send(STATUS_CHANGED, status(1, 9, "Succeeded"), status(1, 4))
    bench.send(FOLLOWED_UP, follow_up(1, 8, 2), follow_up(1, 5, 1))
    with bench.sink():
        bench.wait_for_commit(FOLLOWED_UP, 2)
        bench.send(STATUS_CHANGED, status(1, 8))
        bench.send(FOLLOWED_UP, follow_up(1, 7, 1))
        bench.wait_for_commit(FOLLOWED_UP, 3)
        bench.wait_for_commit(STATUS_CHANGED, 3)
    assert bench.query("select call_status, status_version, is_interested, follow_version from leads_task_list") == [
        ("Succeeded", 9, 2, 8)
    ]
    assert bench.query("select summary from leads_follow") == [("version 8",)]


def test_bad_records_go_to_the_dead_letters_and_good_ones_around_them_land(bench: Bench, topics: str) -> None:
    """Undecodable, refused and contradicting records keep their bytes, carry a reason, and cost no good record."""
    garbage = b"\xff\x00 not json"
    headers = [("x-trace", b"\x01\x02")]
    bench.send(LEAD_ADDED, lead(1))
    bench.publisher.publish([Outgoing(LEAD_ADDED.name, b"k\xff", garbage, headers)])
    refused = lead(2, added_at=datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
    bench.send(LEAD_ADDED, lead(3), lead(1, reference_id=ReferenceId("another")), refused)
    bench.send(JOB_ASSIGNED, assigned(1), assigned(3, "job-1"))
    with bench.sink():
        bench.wait_for_commit(LEAD_ADDED, 5)
        bench.wait_for_commit(JOB_ASSIGNED, 2)
        # Where the assignment came first it is parked, and may have to wait for a sweep.
        wait_until(lambda: read_messages(topics, JOB_ASSIGNED.dead_letters) != [], seconds=30, what="the dead letter")
    letters = read_messages(topics, LEAD_ADDED.dead_letters)
    by_value = {as_bytes(message.value()) or b"": dict(headers_of(message)) for message in letters}
    why = {as_bytes(message.value()) or b"": reason_of(message) for message in letters}
    assert garbage in by_value
    assert by_value[garbage]["x-trace"] == b"\x01\x02"
    assert "UTF-8" in why[garbage]
    assert by_value[garbage]["__connect.errors.topic"] == LEAD_ADDED.name.encode()
    assert [message.key() for message in letters if message.value() == garbage] == [b"k\xff"]
    reasons = {json.loads(value)["leads_id"]: reason for value, reason in why.items() if value != garbage}
    assert "another reference" in reasons["lead-1"]
    [job_letter] = read_messages(topics, JOB_ASSIGNED.dead_letters)
    assert reason_of(job_letter).startswith("23505: duplicate key")
    rows = bench.query("select leads_id, call_job_id <> '' from leads_task_list order by leads_id")
    assert [row for row in rows if row[0] != "lead-2"] in (
        [("lead-1", True), ("lead-3", False)],
        [("lead-1", False), ("lead-3", True)],
    )


def test_a_parked_record_whose_row_never_comes_becomes_a_dead_letter(bench: Bench, topics: str) -> None:
    """After its time, with its bytes and the reason; never silence."""
    bench.send(STATUS_CHANGED, status(1, 5))
    with bench.sink(park_seconds=1):
        bench.wait(lambda: len(read_messages(topics, STATUS_CHANGED.dead_letters)) == 1, "an expired record")
    [letter] = read_messages(topics, STATUS_CHANGED.dead_letters)
    [original] = read_messages(topics, STATUS_CHANGED.name)
    assert (letter.key(), letter.value()) == (original.key(), original.value())
    assert "no row came" in reason_of(letter)
    assert bench.query("select count(*) from parked_records") == [(0,)]


def test_two_sinks_share_the_work_and_leave_without_loss(bench: Bench) -> None:
    """One joins, one leaves, while leads and statuses come: every row is there, with its newest status."""
    with bench.sink():
        bench.send(LEAD_ADDED, *(lead(i) for i in range(300)))
        with bench.sink():
            bench.send(JOB_ASSIGNED, *(assigned(i) for i in range(300)))
            bench.send(STATUS_CHANGED, *(status(i, 5) for i in range(300)))
        bench.send(STATUS_CHANGED, *(status(i, 6, "Succeeded") for i in range(300)))
        bench.wait_for_commit(STATUS_CHANGED, 600)
        bench.wait(lambda: bench.query("select count(*) from parked_records") == [(0,)], "nothing parked")
    assert bench.query("select call_status, status_version, count(*) from leads_task_list group by 1, 2") == [
        ("Succeeded", 6, 300)
    ]


def test_an_outage_of_the_database_is_waited_out(
    topics: str,
    publisher: Publisher,
    kafka_admin: AdminClient,
    template_database: str,
    postgres_server: EmbeddedPostgres,
) -> None:
    """The connection is cut in the middle; the sink stays in its group and goes on when it is back."""
    name = "outage"
    direct = postgres_server.create_database(name, template_database)
    with FaultProxy("127.0.0.1", postgres_server.port) as proxy:
        bench = Bench(topics, direct.replace(str(postgres_server.port), str(proxy.port)), publisher, kafka_admin)
        with bench.sink():
            bench.send(LEAD_ADDED, *(lead(i) for i in range(10)))
            bench.wait_for_commit(LEAD_ADDED, 10)
            proxy.cut()
            bench.send(LEAD_ADDED, *(lead(i) for i in range(10, 3000)))
            time.sleep(3)
            assert committed(kafka_admin, GROUP, LEAD_ADDED.name) == 10
            proxy.pass_through()
            bench.wait_for_commit(LEAD_ADDED, 3000)
            assert bench.query("select count(*) from leads_task_list") == [(3000,)]
    postgres_server.drop_database(name)


def test_one_bad_row_in_a_thousand_is_found_by_halving(
    bench: Bench, topics: str, postgres_server: EmbeddedPostgres
) -> None:
    """Tens of statements, one dead letter with its SQLSTATE, and 999 rows."""
    with psycopg.connect(bench.settings.dsn) as connection:
        connection.execute("alter table leads_task_list add check (leads_name <> 'name 500')")
    bench.send(LEAD_ADDED, *(lead(i) for i in range(1000)))
    mark = log_mark(postgres_server)
    with bench.sink():
        bench.wait_for_commit(LEAD_ADDED, 1000)
    inserts = [text for text in statements(postgres_server, "callstream-sink", mark) if "insert_leads" in text]
    assert len(inserts) < 50
    assert bench.query("select count(*) from leads_task_list") == [(999,)]
    [letter] = read_messages(topics, LEAD_ADDED.dead_letters)
    assert "23514" in reason_of(letter)


def test_a_slow_trickle_is_committed_within_seconds(bench: Bench) -> None:
    """Lag dashboards are true although no batch is ever full."""
    with bench.sink():
        for number in range(3):
            bench.send(LEAD_ADDED, lead(number))
            wait_until(
                lambda sent=number + 1: committed(bench.admin, GROUP, LEAD_ADDED.name) == sent,  # type: ignore[misc]
                seconds=5 if number else 20,
                what="a commit",
            )


def test_a_sink_with_an_instance_id_keeps_its_place_while_it_is_restarted(bench: Bench) -> None:
    """Static membership: its end is no rebalance, and it goes on with its partitions when it is back."""
    core = bench.settings.core.model_copy(update={"instance_id": "a"})
    bench.settings = bench.settings.model_copy(update={"core": core})
    with bench.sink():
        bench.send(LEAD_ADDED, lead(1))
        bench.wait_for_commit(LEAD_ADDED, 1)
    described = bench.admin.describe_consumer_groups([GROUP])[GROUP].result(10)
    assert [member.group_instance_id for member in described.members] == [f"{GROUP}-a"]
    assert len(described.members[0].assignment.topic_partitions) == 20
    with bench.sink():
        bench.send(LEAD_ADDED, lead(2))
        bench.wait_for_commit(LEAD_ADDED, 2)


def test_the_marks_of_a_transaction_are_no_lag(bench: Bench) -> None:
    """A producer's commit and abort take offsets too: a dashboard must not count them until the next record comes."""
    producer = make_producer(bench.settings.kafka, **{"transactional.id": "crm"})
    producer.init_transactions(20)
    for event, end in ((lead(1), producer.commit_transaction), (lead(2), producer.abort_transaction)):
        producer.begin_transaction()
        producer.produce(LEAD_ADDED.name, encode(event), b"k")
        producer.flush(20)
        end(20)
    with bench.sink():
        bench.wait_for_commit(LEAD_ADDED, 4)
    assert bench.query("select leads_id from leads_task_list") == [("lead-1",)]
