"""Change detection, decided without I/O."""

from dataclasses import dataclass, field
from datetime import timedelta, timezone

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import astuple, replace

from schemas.ids import MAX_VERSION, CallJobId, CallTaskId, PageId, ReferenceId, TaskId, event_id_for
from schemas.instants import from_milliseconds, to_milliseconds
from schemas.jobs import JobSnapshot, JobsPolled, StatusChanged, Turn
from schemas.topics import JOBS_POLLED, STATUS_CHANGED
from streams.changes import ChangePolicy, PageRow, decode_row, detect, encode_row, keep

T0 = 1_790_000_000_000
POLICY = ChangePolicy(reassert_ms=30_000, reassert_max_ms=100_000, forget_ms=1_000_000, forget_ended_ms=700_000)
JOB = JobSnapshot(
    task_id=TaskId("task"),
    reference_id=ReferenceId("ref"),
    call_job_id=CallJobId("job"),
    call_status="Executing",
    call_conversation=(Turn(speaker="Contact", script="喂", at=from_milliseconds(T0)),),
    stored_version=0,
)


def page(at: int, *jobs: JobSnapshot, repair: bool = False) -> JobsPolled:
    """A page observed `at` milliseconds after the beginning."""
    return JobsPolled(page_id=PageId("page"), observed_at=from_milliseconds(T0 + at), jobs=jobs, repair=repair)


def test_a_new_job_is_emitted_with_what_the_database_held() -> None:
    """No entry, because the job is new or the table was lost: the next version after the stored one."""
    [event] = detect({}, page(5, replace(JOB, stored_status="Scheduling")), POLICY).events
    assert (event.version, event.previous_status, event.is_terminal) == (T0 + 5, "Scheduling", False)
    assert event.event_id == event_id_for(STATUS_CHANGED.name, "job", event.version)
    assert event.changed == ("call_status", "call_conversation")
    [event] = detect({}, page(5, replace(JOB, stored_version=T0 * 2)), POLICY).events
    assert event.version == T0 * 2 + 1


def test_versions_stop_at_their_end_and_unreadable_rows_are_rebuilt() -> None:
    """A version from outside may be the greatest there is; no row that follows from it stops the reader."""
    row: PageRow = {}
    [event] = detect(row, page(5, replace(JOB, stored_version=MAX_VERSION)), POLICY).events
    assert event.version == MAX_VERSION
    assert decode_row(encode_row(row)) == row
    assert decode_row(b"\xff no row") == {}
    row[CallJobId("job")].names = b"of a release that compared other fields"
    assert decode_row(encode_row(row)) == {}


def test_an_unchanged_page_emits_and_writes_nothing() -> None:
    """The same meaning is no change, however its times are spelt."""
    row: PageRow = {}
    detect(row, page(0, JOB), POLICY)
    elsewhere = from_milliseconds(T0).astimezone(timezone(timedelta(hours=8)))
    detection = detect(
        row, page(1, replace(JOB, call_conversation=(Turn(speaker="Contact", script="喂", at=elsewhere),))), POLICY
    )
    assert (detection.events, detection.must_write, detection.counts.unchanged) == ([], False, 1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("call_status", "Failed"),
        ("planed_time", from_milliseconds(T0)),
        ("call_task_id", CallTaskId("attempt")),
        ("call_conversation", ()),
        ("calling_number", "95187"),
        ("failure_reason", "NoAnswer"),
        ("started_at", from_milliseconds(T0)),
        ("ended_at", from_milliseconds(T0 + 1)),
    ],
)
def test_each_compared_field_is_named_when_it_differs(name: str, value: object) -> None:
    """A difference in any field is a change, and the event says in which."""
    row: PageRow = {}
    detect(row, page(0, JOB), POLICY)
    [event] = detect(row, page(1, replace(JOB, **{name: value})), POLICY).events
    assert (event.changed, event.version, event.previous_status) == ((name,), T0 + 1, "Executing")


def test_an_older_observation_is_dropped_and_an_equal_one_is_taken() -> None:
    """Age decides, an unchanged observation counts for it, and a split page has one time."""
    row: PageRow = {}
    detect(row, page(0, JOB), POLICY)
    detect(row, page(10, JOB), POLICY)
    late = detect(row, page(9, replace(JOB, call_status="Scheduling")), POLICY)
    assert (late.events, late.counts.stale) == ([], 1)
    [event] = detect(row, page(10, replace(JOB, call_status="Failed")), POLICY).events
    assert event.version == T0 + 10
    [event] = detect(row, page(10, replace(JOB, call_job_id=CallJobId("other"))), POLICY).events
    assert event.call_job_id == "other"


def test_an_unconfirmed_event_is_sent_again_as_it_was() -> None:
    """Same id, version and content; `changed` is empty and the interval doubles up to its limit."""
    row: PageRow = {}
    [first] = detect(row, page(0, replace(JOB, stored_status="Scheduling")), POLICY).events
    times = [at for at in range(1_000, 500_000, 1_000) if detect(row, page(at, JOB), POLICY).events]
    assert times == [30_000, 90_000, 190_000, 290_000, 390_000, 490_000]
    [again] = detect(row, page(600_000, JOB), POLICY).events
    assert again == replace(first, changed=())


def test_a_confirmed_event_is_not_sent_again() -> None:
    """The database holds version and status: nothing is left to do."""
    row: PageRow = {}
    [event] = detect(row, page(0, JOB), POLICY).events
    stored = replace(JOB, stored_version=event.version, stored_status="Executing")
    assert not detect(row, page(10_000_000, stored), POLICY).events


@pytest.mark.parametrize(("version", "status"), [(0, "Damaged"), (1, "Executing"), (1, "Damaged"), (0, None)])
def test_what_the_database_holds_against_us_is_emitted_anew(version: int, status: str | None) -> None:
    """A version that we do not know, or our version with another status: one event with a version above both."""
    row: PageRow = {}
    [event] = detect(row, page(0, JOB), POLICY).events
    job = replace(JOB, stored_version=event.version + version, stored_status=status)
    [corrected] = detect(row, page(1, job), POLICY).events
    assert corrected.version > job.stored_version
    assert corrected.changed == ()


def test_repair_emits_everything_anew() -> None:
    """Each job of a repaired page gets a new version, changed or not."""
    row: PageRow = {}
    [event] = detect(row, page(0, JOB), POLICY).events
    stored = replace(JOB, stored_version=event.version, stored_status="Executing")
    [repaired] = detect(row, page(1, stored, repair=True), POLICY).events
    assert repaired.version == T0 + 1


def test_a_repair_that_comes_again_emits_nothing_more() -> None:
    """A crash between row and commit brings the page again; its events are out, under their only ids."""
    row: PageRow = {}
    detect(row, page(0, JOB), POLICY)
    assert detect(row, page(1, JOB, repair=True), POLICY).events
    assert not detect(row, page(1, JOB, repair=True), POLICY).events
    assert detect(row, page(2, JOB, repair=True), POLICY).events


def test_jobs_that_were_not_seen_for_long_leave_the_row() -> None:
    """A row that is written anyway forgets what was last observed long ago."""
    row: PageRow = {}
    detect(row, page(0, JOB, replace(JOB, call_job_id=CallJobId("gone"))), POLICY)
    detect(row, page(1_000_001, replace(JOB, call_status="Failed")), POLICY)
    assert list(row) == ["job"]


def test_ended_jobs_leave_sooner_and_an_empty_row_leaves_as_a_whole() -> None:
    """A stored row at a later time: as it was, without its ended job, or nothing."""
    row: PageRow = {}
    detect(row, page(0, JOB, replace(JOB, call_job_id=CallJobId("ended"), call_status="Succeeded")), POLICY)
    value = encode_row(row)
    assert keep(value, T0 + POLICY.forget_ended_ms, POLICY) == value
    shorter = keep(value, T0 + POLICY.forget_ended_ms + 1, POLICY)
    assert list(decode_row(shorter)) == ["job"]
    assert keep(value, T0 + POLICY.forget_ms + 1, POLICY) is None
    assert keep(b"unreadable", T0, POLICY) is None


def test_no_page_that_is_still_in_its_topic_is_older_than_what_is_forgotten() -> None:
    """An ended job that left must not come back by an old page that is read again."""
    assert int(JOBS_POLLED.config["retention.ms"]) < ChangePolicy().forget_ended_ms <= ChangePolicy().forget_ms


def test_a_row_survives_its_encoding() -> None:
    """What is stored is what is read."""
    row: PageRow = {}
    detect(row, page(0, JOB), POLICY)
    assert decode_row(encode_row(row)) == row
    assert decode_row(None) == {}


def test_a_row_from_before_its_last_fields_is_read() -> None:
    """A worker of this release starts on the table of the one before."""
    row: PageRow = {}
    detect(row, page(0, JOB), POLICY)
    older = {job_id: list(astuple(entry))[:9] for job_id, entry in row.items()}
    assert decode_row(msgspec.msgpack.encode(older)) == row


@dataclass
class World:
    """A job in the cloud, its row in the database, and a detector whose memory may be set back."""

    row: bytes = b""
    status: str = "S0"
    version: int = 0
    stored_status: str | None = None
    clock: int = 0
    past: list[JobsPolled] = field(default_factory=list)
    events: list[StatusChanged] = field(default_factory=list)
    truth: list[str] = field(default_factory=list)

    def observe(self, status: str) -> None:
        """Poll the cloud: the page carries what the database holds."""
        self.clock += 1_000
        self.status = status
        job = replace(JOB, call_status=status, stored_version=self.version, stored_status=self.stored_status)
        self.past.append(page(self.clock, job))
        if not self.truth or self.truth[-1] != status:
            self.truth.append(status)
        self.take(self.past[-1])

    def take(self, observed: JobsPolled, *, is_row_kept: bool = True) -> None:
        """Give a page to the detector; without its row it died after the events were sent."""
        row = decode_row(self.row)
        self.events += detect(row, observed, POLICY).events
        if is_row_kept:
            self.row = encode_row(row)

    def store(self, event: StatusChanged) -> None:
        """Write an event into the database, as the sink does."""
        if event.version > self.version:
            self.version, self.stored_status = event.version, event.call_status


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("observe"), st.integers(0, 3)),
        st.tuples(st.just("late"), st.integers(0, 20)),
        st.tuples(st.just("replay"), st.integers(1, 4)),
        st.tuples(st.just("store"), st.integers(0, 20)),
    ),
    max_size=40,
)


@given(STEPS)
def test_every_change_is_emitted_in_order_and_the_last_state_wins(steps: list[tuple[str, int]]) -> None:
    """Whatever comes late, twice, or again after a crash before the row was written."""
    world = World()
    world.observe("S0")
    for step, number in steps:
        if step == "observe":
            world.observe(f"S{number}")
        elif step == "late":
            world.take(world.past[number % len(world.past)])
        elif step == "replay":
            crash(world, number)
        else:
            world.store(world.events[number % len(world.events)])
    newest: dict[int, StatusChanged] = {event.version: event for event in world.events}
    in_order = [newest[version].call_status for version in sorted(newest)]
    collapsed = [status for i, status in enumerate(in_order) if not i or in_order[i - 1] != status]
    assert collapsed == world.truth
    assert world.events[-1].call_status == world.status or newest[max(newest)].call_status == world.status
    for event in world.events:
        assert replace(event, changed=()) == replace(newest[event.version], changed=()), "a version is one event"


def crash(world: World, pages: int) -> None:
    """Die before the rows of the last pages were written, then see those pages again."""
    again = world.past[-pages:]
    for observed in again:
        world.take(observed, is_row_kept=False)
    for observed in again:
        world.take(observed)


@given(st.lists(st.integers(0, 2), min_size=1, max_size=30), st.data())
def test_a_replay_against_an_older_row_makes_the_same_events(statuses: list[int], data: st.DataObject) -> None:
    """Effects are in order, so a crash leaves an older row: what follows from it is what followed before."""
    pages = [page(i * 1_000, replace(JOB, call_status=f"S{status}")) for i, status in enumerate(statuses)]
    row: PageRow = {}
    rows, events = [encode_row(row)], []
    for observed in pages:
        events.append(detect(row, observed, POLICY).events)
        rows.append(encode_row(row))
    at = data.draw(st.integers(0, len(pages) - 1))
    older = decode_row(rows[at])
    assert [detect(older, observed, POLICY).events for observed in pages[at:]] == events[at:]


@given(st.integers(0, 2**62), st.integers(0, 2**40), st.booleans())
def test_versions_are_above_what_was_given_and_stored(stored: int, at: int, repair: bool) -> None:  # noqa: FBT001
    """Neither a clock that went back nor a database that is ahead makes a version smaller."""
    row: PageRow = {}
    [first] = detect(row, page(at, JOB), POLICY).events
    changed = replace(JOB, call_status="Failed", stored_version=stored)
    [event] = detect(row, page(at, changed, repair=repair), POLICY).events
    assert event.version > max(first.version, stored)
    assert to_milliseconds(event.observed_at) <= event.version
