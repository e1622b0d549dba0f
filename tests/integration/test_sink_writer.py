"""The writer on a real PostgreSQL, without a broker: races between two sinks, parking, expiry, deadlocks."""

import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from prometheus_client import REGISTRY

from devtools.processes import wait_until
from runtime.clock import SystemClock
from runtime.dead_letters import DeadLetter, Origin
from runtime.errors import FatalError
from runtime.postgres import Database
from runtime.sql import statement
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
from schemas.jobs import JobAssigned, JobRecorded, StatusChanged
from schemas.leads import LeadAdded
from sinks.batches import Batch, Place, Record
from sinks.flusher import Flusher
from sinks.mapping import FOLLOW_UPS, JOB_IDS, LEADS, RECORDINGS, STATUSES, Kind
from sinks.writer import Tally, Writer

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
TASK = TaskId("task-1")


def lead(number: int, reference: str | None = None) -> LeadAdded:
    """A lead."""
    return LeadAdded(
        task_id=TASK,
        leads_id=LeadId(f"lead-{number}"),
        leads_name="n",
        leads_phone="1",
        reference_id=ReferenceId(reference) if reference else None,
    )


def assigned(number: int, job: str | None = None) -> JobAssigned:
    """The assignment of a lead."""
    return JobAssigned(
        event_id=EventId("e"),
        task_id=TASK,
        reference_id=reference_id_for(TASK, LeadId(f"lead-{number}")),
        call_job_id=CallJobId(job or f"job-{number}"),
        job_group_id=JobGroupId("group"),
        assigned_at=NOW,
    )


def status(number: int, version: int, call_status: str = "Executing", attempt: str = "attempt") -> StatusChanged:
    """A snapshot of a lead's job."""
    return StatusChanged(
        event_id=EventId("e"),
        task_id=TASK,
        reference_id=reference_id_for(TASK, LeadId(f"lead-{number}")),
        call_job_id=CallJobId(f"job-{number}"),
        version=version,
        observed_at=NOW,
        call_status=call_status,
        call_conversation=(),
        changed=("call_status",),
        is_terminal=call_status == "Succeeded",
        call_task_id=CallTaskId(attempt),
    )


def recording(number: int, attempt: str = "attempt", recorded_at: datetime = NOW) -> JobRecorded:
    """A recording of an attempt."""
    return JobRecorded(
        event_id=EventId("e"),
        call_job_id=CallJobId(f"job-{number}"),
        call_task_id=CallTaskId(attempt),
        recording_url=f"https://recordings.example/{attempt}",
        recorded_at=recorded_at,
    )


def follow_up(number: int, version: int) -> FollowedUp:
    """A follow-up of a lead's job."""
    job = CallJobId(f"job-{number}")
    return FollowedUp(
        event_id=EventId("e"),
        task_id=TASK,
        call_job_id=job,
        leads_follow_id=follow_up_id_for(job),
        version=version,
        is_interested=1,
        summary="s",
        analyzer="rules",
        is_forced=False,
        analyzed_at=NOW,
    )


MANY_ROWS = """
with added as (
    insert into leads_task_list (task_id, leads_id, leads_name, leads_phone, reference_id, call_job_id)
    select 'many', n, 'n', '1', 'many-' || n, 'many-' || n from generate_series(1, 5000) as n
    returning 1
)
select count(*) from added
"""


class Letters:
    """Where the dead letters of a test arrive."""

    def __init__(self) -> None:
        self.sent: list[DeadLetter] = []

    def send(self, letters: Iterable[DeadLetter]) -> None:
        """Take them."""
        self.sent += letters


class Desk:
    """A writer on the test's database, and questions to the table."""

    def __init__(self, dsn: str, *, park_seconds: float = 3600) -> None:
        self.dsn = dsn
        self.letters = Letters()
        self.database = Database(dsn, name="sink", is_steady=True)
        self.database.open()
        self.writer = Writer(self.database, self.letters, park_seconds=park_seconds)

    def write(self, kind: Kind, *events: Any) -> Tally:
        """Write events as one flush."""
        return self.writer.write(batch_of((kind, event) for event in events))

    def execute(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """What the table says, or a change of it, by somebody else's connection."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            cursor = connection.execute(sql.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def parked(self) -> int:
        """How many records wait."""
        [(count,)] = self.execute("select count(*) from parked_records")
        return int(count)

    def sweep(self) -> None:
        """Sweep until nothing more can be done."""
        while self.writer.sweep():
            pass


def batch_of(pairs: Iterable[tuple[Kind, Any]]) -> Batch:
    """A batch as the loop fills it."""
    batch = Batch()
    for offset, (kind, event) in enumerate(pairs):
        origin = Origin(topic=kind.topic.name, partition=0, offset=offset, key=b"k", value=encode(event))
        place = Place(origin.topic, 0, offset, len(origin.value or b""))
        batch.add(Record.of(kind, event, lambda origin=origin: origin), place, now=0.0)  # type: ignore[misc]
    return batch


@pytest.fixture
def desk(database: str) -> Iterator[Desk]:
    """A writer and an empty migrated database."""
    desk = Desk(database)
    yield desk
    desk.database.close()


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Have something happen once, after a statement that applies and before the one that judges."""

    def arrange(interference: Callable[[], object]) -> None:
        waiting = [interference]

        def interfering(package: str, name: str) -> bytes:
            if name.startswith("judge") and waiting:
                waiting.pop()()
            return statement(package, name)

        monkeypatch.setattr("sinks.writer.statement", interfering)

    return arrange


Arrange = Callable[[Callable[[], object]], None]


@pytest.mark.parametrize("by_sweep", [True, False])
def test_a_parked_record_that_nobody_can_read_any_more_ends_no_sink(desk: Desk, *, by_sweep: bool) -> None:
    """Parked by another release, or changed by hand: a dead letter with its bytes, also where a flush finds it."""
    desk.write(STATUSES, status(1, 5))
    desk.execute("update parked_records set record_value = convert_to('{}', 'UTF8') returning 1")
    desk.execute(MANY_ROWS)
    if by_sweep:
        desk.execute("update leads_task_list set call_job_id = 'job-1' where leads_id = '1' returning 1")
        desk.sweep()
    else:
        desk.writer.write(batch_of([(LEADS, lead(1)), (JOB_IDS, assigned(1))]))
    [letter] = desk.letters.sent
    assert (letter.kind, letter.origin.value) == ("undecodable", b"{}")
    assert "event_id" in letter.reason
    assert desk.parked() == 0


@pytest.mark.parametrize(
    ("before", "meanwhile", "late", "then"),
    [
        ([(LEADS, lead(1))], (JOB_IDS, assigned(1)), (STATUSES, status(1, 5)), 5),
        ([(LEADS, lead(1))], (JOB_IDS, assigned(1)), (FOLLOW_UPS, follow_up(1, 5)), 5),
        ([], (LEADS, lead(1)), (JOB_IDS, assigned(1)), "job-1"),
        (
            [(LEADS, lead(1)), (JOB_IDS, assigned(1))],
            (STATUSES, status(1, 5, "Succeeded")),
            (RECORDINGS, recording(1)),
            NOW,
        ),
    ],
    ids=["status", "follow-up", "job id", "recording"],
)
def test_what_another_sink_commits_between_two_statements_loses_nothing(
    desk: Desk, between: Arrange, before: list[tuple[Kind, Any]], meanwhile: tuple[Kind, Any], late: Any, then: object
) -> None:
    """The row comes after this sink looked for it and before it asks why it was not there: the record is applied."""
    desk.writer.write(batch_of(before))
    other = Desk(desk.dsn)
    between(lambda: other.writer.write(batch_of([meanwhile])))
    desk.writer.write(batch_of([late]))
    other.database.close()
    desk.sweep()
    [row] = desk.execute("select status_version, follow_version, call_job_id, recorded_at from leads_task_list")
    assert then in row
    assert desk.letters.sent == []
    assert desk.parked() == 0


def test_a_deadlock_is_tried_again_and_the_flush_lands(desk: Desk) -> None:
    """PostgreSQL ends one of two that wait for each other, with 40P01; here the sink, whose flush then lands whole."""
    desk.writer.write(batch_of([(LEADS, lead(1)), (LEADS, lead(2)), (JOB_IDS, assigned(1)), (JOB_IDS, assigned(2))]))
    desk.execute(MANY_ROWS)  # or the server would read them all, in an order of its own
    stopping = threading.Event()
    flusher = Flusher(desk.writer, stopping, SystemClock())
    before = deadlocks()
    with psycopg.connect(desk.dsn) as other:
        other.execute("set deadlock_timeout = '60s'")  # so it is the sink that looks for a deadlock, and is its victim
        other.execute("update leads_task_list set leads_name = 'x' where call_job_id = 'job-2'")
        flusher.submit(batch_of([(STATUSES, status(1, 5)), (STATUSES, status(2, 5))]), "rows")
        wait_until(
            lambda: desk.execute("select count(*) from pg_locks where not granted") == [(1,)],
            seconds=10,
            what="a flush that waits",
        )
        other.execute("update leads_task_list set leads_name = 'x' where call_job_id = 'job-1'")
    flusher.wait(10)
    [(_, tally)] = flusher.completed()
    flusher.close()
    assert deadlocks() == before + 1
    assert len(tally.written) == 2
    assert desk.execute("select count(*) from leads_task_list where status_version = 5") == [(2,)]


def deadlocks() -> float:
    """How often a deadlock, or another rollback by the server, was met."""
    return REGISTRY.get_sample_value("callstream_database_errors_total", {"sqlstate_class": "40"}) or 0.0


def test_more_than_a_thousand_parked_are_applied_by_the_flush_that_brings_their_rows(desk: Desk) -> None:
    """Assignments, then the statuses and recordings of the jobs that they name, all without a sweep."""
    many = range(1100)
    desk.write(RECORDINGS, *map(recording, many))
    desk.write(STATUSES, *(status(i, 5) for i in many))
    desk.write(JOB_IDS, *map(assigned, many))
    assert desk.parked() == 3300
    desk.write(LEADS, *map(lead, many))
    assert desk.parked() == 0
    [counts] = desk.execute(
        "select count(*) filter (where status_version = 5), count(recorded_at) from leads_task_list"
    )
    assert counts == (1100, 1100)


def test_a_writer_that_starts_anew_finds_what_was_parked_before(desk: Desk) -> None:
    """Nothing about parked records is in memory only."""
    desk.write(JOB_IDS, assigned(1))
    again = Desk(desk.dsn)
    again.write(LEADS, lead(1))
    again.database.close()
    assert desk.execute("select call_job_id from leads_task_list") == [("job-1",)]


def test_parked_records_that_the_row_or_the_database_refuses_are_dead_letters(desk: Desk) -> None:
    """A second job id for a lead contradicts its row, one job id for two is refused; both letters have their bytes."""
    desk.write(JOB_IDS, assigned(1), assigned(1, "job-9"), assigned(2), assigned(3, "job-2"))
    assert desk.parked() == 4
    desk.write(LEADS, lead(1), lead(2), lead(3))
    assert sorted(letter.kind for letter in desk.letters.sent) == ["conflict", "refused"]
    assert [letter.code for letter in desk.letters.sent if letter.kind == "refused"] == ["23505"]
    assert all(b'"assigned_at"' in (letter.origin.value or b"") for letter in desk.letters.sent)
    assert desk.parked() == 0
    assert desk.execute("select count(*) from leads_task_list where call_job_id = ''") == [(1,)]


def test_all_that_expired_become_dead_letters_but_not_what_can_be_applied(database: str) -> None:
    """However many; a record whose row has come is applied, however late."""
    desk = Desk(database, park_seconds=0.001)
    desk.write(STATUSES, *(status(i, 5) for i in range(1100)))
    desk.execute(
        "insert into leads_task_list (task_id, leads_id, leads_name, leads_phone, reference_id, call_job_id)"
        " values ('t', 'l', 'n', '1', 'r', 'job-7')"
    )
    desk.sweep()
    desk.database.close()
    assert {letter.kind for letter in desk.letters.sent} == {"expired"}
    assert len(desk.letters.sent) == 1099
    assert desk.parked() == 0
    assert desk.execute("select status_version from leads_task_list") == [(5,)]


def test_a_record_that_waits_again_keeps_its_time(desk: Desk) -> None:
    """A row that takes no change, here by a trigger, holds a record until its first time is over, and no longer."""
    desk.write(STATUSES, status(1, 5))
    desk.execute("create function nothing() returns trigger language plpgsql as 'begin return null; end'")
    desk.write(LEADS, lead(1))
    desk.write(JOB_IDS, assigned(1))
    desk.execute("update leads_task_list set status_version = 0")
    desk.execute("create trigger nothing before update on leads_task_list for each row execute function nothing()")
    desk.write(STATUSES, status(1, 6))
    [(expires_at,)] = desk.execute("select expires_at from parked_records")
    desk.sweep()
    assert desk.execute("select expires_at from parked_records") == [(expires_at,)]
    desk.execute("update parked_records set expires_at = now()")
    desk.sweep()
    assert [letter.kind for letter in desk.letters.sent] == ["expired"]


def test_refusing_most_rows_stops_the_writer_and_one_bad_row_again_and_again_does_not(desk: Desk) -> None:
    """501 distinct rows refused: an error that says so, and nothing of that flush is written or dead-lettered."""
    desk.execute("alter table leads_task_list add check (leads_name <> 'n')")
    for _ in range(600):
        desk.write(LEADS, lead(1))
    sent = len(desk.letters.sent)
    with pytest.raises(FatalError, match="501 of the last 1000 rows"):
        desk.write(LEADS, *map(lead, range(501)))
    assert len(desk.letters.sent) == sent == 600


def test_a_recording_stays_with_its_attempt_and_makes_room_for_newer_ones_only(desk: Desk) -> None:
    """An older one changes nothing, another attempt's waits for it, and what the row shows leaves with its attempt."""

    def shown() -> tuple[Any, ...]:
        [row] = desk.execute("select recording_url, recorded_at from leads_task_list")
        return row

    desk.writer.write(batch_of([(LEADS, lead(1)), (JOB_IDS, assigned(1)), (STATUSES, status(1, 5))]))
    first = recording(1)
    desk.write(RECORDINGS, first)
    desk.write(RECORDINGS, recording(1, recorded_at=NOW - timedelta(seconds=1)))
    desk.write(RECORDINGS, second := recording(1, "second"))
    assert shown() == (first.recording_url, NOW)
    desk.write(STATUSES, status(1, 6, attempt="second"))
    assert shown() == (second.recording_url, NOW)
    desk.write(STATUSES, status(1, 7, attempt="third"))
    assert shown() == (None, None)


def test_of_leads_that_contradict_each_other_the_first_to_come_stays(desk: Desk) -> None:
    """A lead under two references, a reference for two leads, in one batch: the second ones are dead letters."""
    desk.write(LEADS, lead(1, "z"), lead(1, "a"), lead(9, "y"), lead(2, "y"), lead(3))
    rows = desk.execute("select leads_id, reference_id from leads_task_list where leads_id <> 'lead-3' order by 1")
    assert rows == [("lead-1", "z"), ("lead-9", "y")]
    assert [(letter.kind, letter.origin.offset) for letter in desk.letters.sent] == [("conflict", 1), ("conflict", 3)]


def test_a_constraint_that_is_checked_at_the_commit_costs_its_own_rows_only(desk: Desk) -> None:
    """Somebody's deferred foreign keys: whether a flush or a sweep meets them, who violates one is a dead letter."""
    desk.execute("create table people (id text primary key)")
    desk.execute("insert into people select 'lead-' || n from generate_series(0, 9) as n where n <> 3")
    desk.execute("create table jobs (id text primary key)")
    desk.execute("insert into jobs values ('')")
    for column, table in (("leads_id", "people"), ("call_job_id", "jobs")):
        desk.execute(
            f"alter table leads_task_list add foreign key ({column}) references {table} deferrable initially deferred"
        )
    desk.write(JOB_IDS, assigned(20))
    desk.write(LEADS, *map(lead, range(10)))
    assert [letter.code for letter in desk.letters.sent] == ["23503"]
    desk.execute("update leads_task_list set reference_id = %s where leads_id = 'lead-1'", assigned(20).reference_id)
    desk.sweep()
    assert [letter.code for letter in desk.letters.sent] == ["23503", "23503"]
    assert desk.execute("select count(*), max(call_job_id) from leads_task_list") == [(9, "")]


def test_a_record_may_be_parked_for_ever(database: str) -> None:
    """However many hours are set: what the database's calendar does not hold is no error of the data."""
    desk = Desk(database, park_seconds=1e300)
    desk.write(STATUSES, status(1, 5))
    desk.sweep()
    desk.write(LEADS, lead(1))
    desk.write(JOB_IDS, assigned(1))
    desk.database.close()
    assert desk.execute("select status_version from leads_task_list") == [(5,)]


def test_of_two_recordings_within_a_millisecond_the_newer_one_stays(desk: Desk) -> None:
    """Foreign producers may write microseconds; the database compares them, and so does the batch."""
    desk.writer.write(batch_of([(LEADS, lead(1)), (JOB_IDS, assigned(1)), (STATUSES, status(1, 5))]))
    older, newer = (recording(1, recorded_at=NOW + timedelta(microseconds=n)) for n in (1, 2))
    desk.write(RECORDINGS, older, newer)
    assert desk.execute("select recorded_at from leads_task_list") == [(newer.recorded_at,)]
