"""Change detection as a machine: a cloud, a log of pages, a worker that dies, a sink that loses, a damaged database.

Every part is modelled as it is: the worker reads the log from what it committed, and its row is as old as the last one
that was written; the database applies newer versions only. Whatever happens, in the end the database holds what was
observed last.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace

from schemas.codec import encode
from schemas.ids import CallJobId, PageId, ReferenceId, TaskId, event_id_for
from schemas.instants import from_milliseconds, to_milliseconds
from schemas.jobs import JobSnapshot, JobsPolled, StatusChanged, Turn
from schemas.topics import STATUS_CHANGED
from streams.changes import ChangePolicy, PageRow, decode_row, encode_row, keep
from streams.pages import observe, open_page

T0 = 1_790_000_000_000
POLICY = ChangePolicy(reassert_ms=1_000, reassert_max_ms=8_000, forget_ms=100_000, forget_ended_ms=50_000)
JOBS = ("a", "b", "c")
STATUSES = ("Scheduling", "Executing", "Failed")

Death = Literal["none", "while sending", "before the row", "before the commit"]
jobs = st.sampled_from(JOBS)
deaths = st.sampled_from(("none", "none", "none", "while sending", "before the row", "before the commit"))


def newest(pages: Sequence[JobsPolled], job: str) -> int:
    """Return when a job was observed last, in milliseconds."""
    return max(observations(pages, job), default=0)


def observations(pages: Sequence[JobsPolled], job: str) -> Iterator[int]:
    """Yield when a job was observed, in milliseconds and in the order of the log."""
    for page in pages:
        if any(job == seen.call_job_id for seen in page.jobs):
            yield to_milliseconds(page.observed_at)


@dataclass
class Stored:
    """A row of the database, as far as it matters here."""

    version: int = 0
    status: str | None = None
    script: str | None = None


class DetectionMachine(RuleBasedStateMachine):
    """One page with three jobs."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = 0
        self.cloud = dict.fromkeys(JOBS, ("Scheduling", "0"))
        self.database = {job: Stored() for job in JOBS}
        self.log: list[JobsPolled] = []
        self.held: list[JobsPolled] = []
        self.committed = self.position = self.worked = 0
        self.written = b""
        self.row: PageRow = {}
        self.events: list[StatusChanged] = []
        self.applied = 0
        self.contents: dict[str, StatusChanged] = {}
        self.versions: dict[str, int] = defaultdict(int)
        self.forgotten: set[str] = set()  # jobs of which the worker knows less than it once did

    # What happens outside

    @rule(job=jobs, status=st.sampled_from(STATUSES), script=st.sampled_from("01"))
    def change(self, job: str, status: str, script: str) -> None:
        """A call goes on; a status may come back."""
        self.cloud[job] = (status, script)

    @rule(passed=st.sampled_from((1, 500, 1_500, 10_000, 10_000, 60_000)))
    def wait(self, passed: int) -> None:
        """Time passes."""
        self.clock += passed

    @rule(
        seen=st.sets(jobs, min_size=1),
        is_held=st.booleans(),
        repair=st.sampled_from((False, False, False, True)),
        split=st.booleans(),
    )
    def poll(self, seen: set[str], *, is_held: bool, repair: bool, split: bool) -> None:
        """A poller asks the cloud and the database; its page may reach the log late, or in parts."""
        self.clock += 1
        snapshots = [self.snapshot(job) for job in sorted(seen)]
        parts = [snapshots[:1], snapshots[1:]] if split and len(snapshots) > 1 else [snapshots]
        for part in parts:
            page = JobsPolled(
                page_id=PageId("page"), observed_at=from_milliseconds(T0 + self.clock), jobs=tuple(part), repair=repair
            )
            (self.held if is_held else self.log).append(page)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def arrive_late(self, data: st.DataObject) -> None:
        """A page that was held up comes, maybe after newer ones."""
        self.log.append(self.held.pop(data.draw(st.integers(0, len(self.held) - 1))))

    @precondition(lambda self: self.log)
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        """A page comes a second time."""
        self.log.append(data.draw(st.sampled_from(self.log)))

    # The worker

    @precondition(lambda self: self.position < len(self.log))
    @rule(count=st.integers(1, 5), death=deaths, is_committed=st.booleans())
    def work(self, count: int, death: Death, *, is_committed: bool) -> None:
        """Work through a batch: events first, then the row, then the commit; the worker may die in between."""
        batch = self.log[self.position : self.position + count]
        sent = len(batch) // 2 if death == "while sending" else len(batch)
        must_write = False
        for number, page in enumerate(batch):
            before = set(self.row)
            detection = observe(self.row, open_page(encode(page)), POLICY)
            must_write |= detection.must_write
            for event in detection.events if number < sent else ():
                self.emit(event, to_milliseconds(page.observed_at))
            self.forgotten |= before - set(self.row)
        self.position += len(batch)
        if death in {"none", "before the commit"}:
            self.worked = max(self.worked, self.position)
            if must_write:
                self.written = encode_row(self.row)
        if death != "none":
            self.restart()
        elif is_committed:
            self.committed = self.position

    @rule()
    def restart(self) -> None:
        """Go on from what was written and committed.

        An observation that showed no change was not written. It is forgotten unless it comes again, and before others.
        """
        before, self.row = self.row, decode_row(self.written)
        self.position = self.committed
        for job, entry in before.items():
            held = self.row[job].observed_at if job in self.row else 0
            again = (at for at in observations(self.log[self.committed :], job) if at > held)
            if held < entry.observed_at and next(again, 0) < entry.observed_at:
                self.forgotten.add(job)

    @rule()
    def sweep(self) -> None:
        """What was not observed for long leaves the table, between two batches."""
        before = set(self.row)
        self.written = keep(encode_row(self.row), T0 + self.clock, POLICY) or b""
        self.row = decode_row(self.written)
        self.forgotten |= before - set(self.row)
        self.worked = max(self.worked, self.position)

    @rule(chance=st.integers(0, 3))
    def lose_table(self, chance: int) -> None:
        """Somebody deletes the changelog, not every day."""
        if chance < 3:
            return
        self.written = b""
        self.restart()
        self.forgotten |= set(JOBS)

    def emit(self, event: StatusChanged, observed_at: int) -> None:
        """Send an event; one id has one content, versions of a job grow, and no older observation makes a new event."""
        assert event.event_id == event_id_for(STATUS_CHANGED.name, event.call_job_id, event.version)
        self.events.append(event)
        job, known = event.call_job_id, self.contents.get(event.event_id)
        if job in self.forgotten:
            self.contents[event.event_id] = event
            if event.version > self.versions[job]:  # from here on it is as if nothing had been forgotten
                self.versions[job] = event.version
                self.forgotten.remove(job)
        elif known is None:
            assert event.version > self.versions[job]
            assert observed_at >= newest(self.log[: self.worked], job)
            self.contents[event.event_id] = event
            self.versions[job] = event.version
        else:
            assert replace(event, changed=()) == replace(known, changed=())

    # The database

    @precondition(lambda self: self.applied < len(self.events))
    @rule(count=st.integers(1, 5), is_lost=st.sampled_from((False, False, True)))
    def sink(self, count: int, *, is_lost: bool) -> None:
        """Apply the next events, or lose them."""
        for event in self.events[self.applied : self.applied + count]:
            if not is_lost:
                self.apply(event)
        self.applied = min(self.applied + count, len(self.events))

    @rule()
    def finish(self) -> None:
        """Work through the whole log, and apply every event."""
        if self.position < len(self.log):
            self.work(len(self.log), "none", is_committed=True)
        if self.applied < len(self.events):
            self.sink(len(self.events), is_lost=False)

    @precondition(lambda self: self.events)
    @rule(data=st.data())
    def apply_again(self, data: st.DataObject) -> None:
        """An event comes a second time, at any time."""
        self.apply(data.draw(st.sampled_from(self.events)))

    @rule(
        job=jobs,
        moved=st.sampled_from((-100_000, -1, 0, 0, 0, 1, 100_000)),
        status=st.sampled_from((*STATUSES, "Damaged", None)),
    )
    def damage(self, job: str, moved: int, status: str | None) -> None:
        """A hand changes version or status, and a column; what looks like an event of ours is one (see `--repair`)."""
        stored = self.database[job]
        version = max(0, stored.version + moved)
        event = self.contents.get(event_id_for(STATUS_CHANGED.name, CallJobId(job), version))
        if (version, status) != (stored.version, stored.status):
            self.database[job] = Stored(version, status, "damaged")
            if event is not None and event.call_status == status:
                self.database[job] = Stored()
                self.apply(event)

    def apply(self, event: StatusChanged) -> None:
        """Take an event if it is newer."""
        if event.version > self.database[event.call_job_id].version:
            [turn] = event.call_conversation
            self.database[event.call_job_id] = Stored(event.version, event.call_status, turn.script)

    def snapshot(self, job: str) -> JobSnapshot:
        """What the cloud says of a job, and what the database holds."""
        status, script = self.cloud[job]
        stored = self.database[job]
        return JobSnapshot(
            task_id=TaskId("task"),
            reference_id=ReferenceId(job),
            call_job_id=CallJobId(job),
            call_status=status,
            call_conversation=(Turn(speaker="Contact", script=script),),
            stored_version=stored.version,
            stored_status=stored.status,
        )

    @invariant()
    def only_times_of_unchanged_observations_are_not_written(self) -> None:
        """What was emitted, and as what, survives a restart."""
        written = decode_row(self.written)
        assert {job: entry.version for job, entry in written.items()} == {
            job: entry.version for job, entry in self.row.items()
        }

    def teardown(self) -> None:
        """One re-assert interval after the last loss and damage the database is the cloud, and nobody says more."""
        self.log += self.held
        self.finish()
        self.cloud["a"] = ("Executing", "news")
        self.look()
        self.applied = len(self.events)  # nothing of it reaches the database
        stored = self.database["b"]
        self.database["b"] = Stored(stored.version, "Damaged", "damaged")
        for _ in range(2):
            self.clock += POLICY.reassert_max_ms
            self.look()
            self.finish()
        assert {job: (stored.status, stored.script) for job, stored in self.database.items()} == self.cloud
        said = len(self.events)
        self.clock += POLICY.reassert_max_ms
        self.look()
        assert len(self.events) == said

    def look(self) -> None:
        """Observe everything, and work through it."""
        self.poll(set(JOBS), is_held=False, repair=False, split=False)
        self.work(len(self.log), "none", is_committed=True)


TestDetection = DetectionMachine.TestCase
TestDetection.settings = settings(max_examples=250, stateful_step_count=40, deadline=None)
