"""The starter against a modelled cloud and a modelled table, in made-up time: any order of deaths and failures.

The shipped decisions and their shell run; the model adds what may happen at every step that reaches beyond the process:
death before it or after it, and for a call of the cloud every kind of unclear answer, with its effect at once, late, in
half, or never. In the end nobody was called twice and everybody was called.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Literal, cast, get_args

from hypothesis import event, given, settings
from hypothesis import strategies as st

from producers.assignment import AssignmentPolicy, WaitingLead
from producers.cloud.payloads import Contact, GroupOptions
from producers.starter import Starter
from producers.task_store import LeasedTask, Mark, TaskStore
from runtime.errors import RejectedError, RetryableError
from runtime.kafka import Outgoing, Publisher
from runtime.settings import CloudSettings
from schemas.codec import decode
from schemas.ids import CallJobId, JobGroupId, ReferenceId, TaskId
from schemas.jobs import JobAssigned
from schemas.topics import JOB_ASSIGNED

TASK = TaskId("task-1")
BEGIN = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
POLICY = AssignmentPolicy(call_timeout=timedelta(seconds=15), settle=timedelta(seconds=10))
GROUP = JobGroupId("group-1")
Death = Literal["dies before", "dies after"]
Fate = Literal["fine", "dies after", "dies late", "unclear", "unclear late", "unclear half", "unclear never", "refused"]

Answer = tuple[Fate, float]


class Killed(BaseException):
    """The process is gone."""


class World:
    """Table, cloud and topic, and the time in which they live; what happens next is drawn."""

    def __init__(
        self, leads: int, deaths: Mapping[int, Death], creations: Sequence[Answer], assignments: Sequence[Answer]
    ) -> None:
        self.now = BEGIN
        self._deaths = deaths
        self.creations = list(creations)
        self.assignments = list(assignments)
        self._steps = 0
        self.table = Table(self, leads)
        self.cloud = Cloud(self)
        self.told: list[Outgoing] = []

    def step(self, effect: Callable[[], None] = lambda: None) -> None:
        """A step that reaches beyond the process: whole, or not at all, with death on either side."""
        death = self._deaths.get(self._steps)
        self._steps += 1
        if death == "dies before":
            raise Killed
        effect()
        if death == "dies after":
            raise Killed

    def call(self, answers: list[Answer], effect: Callable[[float], None]) -> None:
        """A call of the cloud that has an effect: all of it, some of it, or none, now or later."""
        fate, seconds = answers.pop(0) if answers else ("fine", 0.0)
        event(fate)
        if fate == "refused":
            raise RejectedError("no", code="InvalidParameter")
        if fate in {"dies late", "unclear late"}:
            self.cloud.late.append((self.now + timedelta(seconds=seconds), effect))
        elif fate != "unclear never":
            effect(0.5 if fate == "unclear half" else 1.0)
        if fate.startswith("dies"):
            raise Killed
        if fate.startswith("unclear"):
            raise RetryableError(fate)

    # The clock and the publisher of the starter

    def monotonic(self) -> float:
        """Seconds of the made-up time."""
        return (self.now - BEGIN).total_seconds()

    def publish(self, records: Iterable[Outgoing]) -> None:
        """Everything, or nothing."""
        batch = list(records)
        if batch:
            self.step(lambda: self.told.extend(batch))


class Clock:
    """The world's time."""

    def __init__(self, world: World) -> None:
        self._world = world

    def now(self) -> datetime:
        """Now."""
        return self._world.now

    def monotonic(self) -> float:
        """The same in seconds."""
        return self._world.monotonic()


class Cloud:
    """One group, jobs by reference; what comes late comes when its time has come."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.exists = False
        self.jobs: list[tuple[ReferenceId, CallJobId]] = []
        self.late: list[tuple[datetime, Callable[[float], None]]] = []

    def settle(self) -> None:
        """Let what is late happen, if it is time."""
        due = [effect for at, effect in self.late if at <= self._world.now]
        self.late = [(at, effect) for at, effect in self.late if at > self._world.now]
        for effect in due:
            effect(1.0)

    def find_job_group(self, name: str) -> JobGroupId | None:  # noqa: ARG002 - there is one task
        """There is one."""
        self._world.step()
        self.settle()
        return GROUP if self.exists else None

    def create_job_group(self, name: str, options: GroupOptions) -> JobGroupId:  # noqa: ARG002 - there is one task
        """Create it; a name that is taken is refused."""
        self.settle()
        if self.exists:
            raise RejectedError("taken", code="InvalidJobGroupName.Duplicated")
        self._world.call(self._world.creations, lambda _share: setattr(self, "exists", True))
        return GROUP

    def list_group(self, group_id: JobGroupId) -> dict[ReferenceId, list[CallJobId]]:  # noqa: ARG002 - there is one
        """A whole listing, as it is now."""
        self._world.step()
        self.settle()
        found: dict[ReferenceId, list[CallJobId]] = {}
        for reference, job in self.jobs:
            found.setdefault(reference, []).append(job)
        return found

    def assign_jobs(
        self,
        group_id: JobGroupId,  # noqa: ARG002 - there is one
        contacts: Sequence[Contact],
        *,
        guard: Callable[[], None],
    ) -> None:
        """A job for each contact, or for some, now or later."""
        guard()

        def effect(share: float) -> None:
            for contact in contacts[: round(len(contacts) * share)]:
                self.jobs.append((contact.reference_id, CallJobId(f"job-{len(self.jobs)}")))

        self._world.call(self._world.assignments, effect)

    def suspend(self, group_id: JobGroupId) -> None:
        """Nothing that this test looks at."""

    resume = cancel = suspend


class Table:
    """What the statements of the starter do to one task and its leads."""

    def __init__(self, world: World, leads: int) -> None:
        self._world = world
        contacts = [Contact(reference_id=ReferenceId(f"r{n}"), name="n", phone_number="1") for n in range(leads)]
        self.leads = {contact.reference_id: WaitingLead(contact=contact, digest="d") for contact in contacts}
        self.job_ids: dict[ReferenceId, CallJobId] = {}
        self.task = LeasedTask(
            task_id=TASK, state="starting", job_group_id=None, request_id=None, now=BEGIN, lease="", due_at=BEGIN
        )
        self._leases = 0

    def lease(self) -> LeasedTask:
        """The next lease; the one before has been given back, or has ended."""
        self._leases += 1
        self.task = replace(self.task, lease=f"lease-{self._leases}", now=self._world.now)
        return self.task

    def waiting_leads(self, task_id: TaskId) -> list[WaitingLead]:  # noqa: ARG002 - there is one
        """Those without a job id."""
        self._world.step()
        return [lead for reference, lead in self.leads.items() if reference not in self.job_ids]

    def mark(
        self, task: LeasedTask, references: Sequence[ReferenceId], *, doubt_until: datetime | None, certainty: timedelta
    ) -> Mark | None:
        """As `assign_mark.sql`."""
        if task.lease != self.task.lease or doubt_until != self.task.doubt_until:
            return None
        mark = Mark(references=set(references) - self.job_ids.keys(), doubt_until=self._world.now + certainty)

        def effect() -> None:
            self.task = replace(self.task, doubt_until=mark.doubt_until)
            for reference in mark.references:
                self.leads[reference] = replace(self.leads[reference], marked_at=self._world.now, is_held=False)

        self._world.step(effect)
        return mark

    def hold(self, task_id: TaskId, leads: Sequence[WaitingLead], *, reason: str, is_taken: bool = False) -> None:  # noqa: ARG002 - there is one
        """As `assign_hold.sql`."""

        def effect() -> None:
            for lead in leads:
                reference, taken_at = lead.contact.reference_id, self._world.now if is_taken else None
                self.leads[reference] = replace(self.leads[reference], is_held=True, taken_at=taken_at)

        self._world.step(effect)

    def correct(self) -> None:
        """Somebody corrects whatever was refused."""
        for reference, lead in self.leads.items():
            if lead.is_held and lead.taken_at is None:
                self.leads[reference] = replace(lead, is_held=False)

    def restore(self) -> None:
        """The table of yesterday: neither the task's group is known, nor that anything is in doubt."""
        self.replay()
        self.task = replace(self.task, job_group_id=None, doubt_until=None)

    def replay(self) -> None:
        """Every row is deleted and comes again: job ids and marks are gone."""
        self.job_ids.clear()
        self.leads = {
            reference: WaitingLead(contact=lead.contact, digest="d") for reference, lead in self.leads.items()
        }

    def has_marks(self, task_id: TaskId) -> bool:  # noqa: ARG002 - there is one
        """Whether anybody was ever marked."""
        return any(lead.marked_at for lead in self.leads.values())

    def expect(self, task: LeasedTask, certainty: timedelta) -> bool:
        """As `start_expect.sql`."""
        self._world.step(lambda: self._doubt(self._world.now + certainty))
        return task.lease == self.task.lease

    def doubt(self, task: LeasedTask, settle: timedelta) -> None:  # noqa: ARG002 - it is ours
        """As `start_doubt.sql`."""
        self._world.step(lambda: self._doubt(self._world.now + settle))

    def settle(self, task: LeasedTask, doubt_until: datetime | None) -> None:  # noqa: ARG002 - it is ours
        """As `start_settle.sql`."""
        self._world.step(lambda: self._doubt(None) if self.task.doubt_until == doubt_until else None)

    def set_group(
        self,
        task_id: TaskId,  # noqa: ARG002 - there is one
        group_id: JobGroupId,
        *,
        is_created: bool,
        certainty: timedelta,
    ) -> JobGroupId:
        """As `start_set_group.sql`."""

        def effect() -> None:
            self.task = replace(self.task, job_group_id=group_id)
            self._doubt(None if is_created else self._world.now + certainty)

        self._world.step(effect)
        return group_id

    def set_calling(self, task: LeasedTask) -> None:  # noqa: ARG002 - there is one
        """As `start_calling.sql`."""
        self._world.step(lambda: setattr(self, "task", replace(self.task, state="calling")))

    def reject(self, task_id: TaskId, reason: str) -> bool:  # noqa: ARG002 - there is one
        """A person starts it again at once."""
        self._world.step()
        return False

    def release(self, task: LeasedTask, *, due_in: float, last_error: str | None) -> None:
        """Given back."""

    def _doubt(self, until: datetime | None) -> None:
        self.task = replace(self.task, doubt_until=until)


DEATHS = st.dictionaries(st.integers(0, 60), st.sampled_from(("dies before", "dies after")), max_size=6)
ANSWERS = st.tuples(st.sampled_from(get_args(Fate)), st.sampled_from((0.9, 4.5, 9.9)))


@settings(max_examples=400, deadline=None)
@given(
    leads=st.sampled_from((0, 1, 2, 27)),
    deaths=DEATHS,
    creations=st.lists(ANSWERS, max_size=2),
    assignments=st.lists(ANSWERS, max_size=6),
    pauses=st.lists(st.sampled_from((0.0, 1.0, 5.0, 12.0, 40.0)), max_size=40),
    lag=st.integers(0, 3),
    losses=st.dictionaries(st.integers(0, 4), st.sampled_from(("rows", "table")), max_size=2),
)
def test_from_every_state_everybody_is_called_once(
    leads: int,
    deaths: dict[int, Death],
    creations: list[Answer],
    assignments: list[Answer],
    pauses: list[float],
    lag: int,
    losses: dict[int, str],
) -> None:
    """Rows may be deleted and replayed, the table restored, the sink lag; starters follow with any pauses."""
    world = World(leads, deaths, creations, assignments)
    rest = iter(pauses)
    for look in range(200):
        starter = Starter(
            store=cast(TaskStore, world.table),
            cloud=world.cloud,
            publisher=cast(Publisher, world),
            policy=POLICY,
            settings=CloudSettings(),
            clock=Clock(world),
        )
        try:
            starter.work(world.table.lease())
        except Killed:
            event("killed")
        called = [reference for reference, _ in world.cloud.jobs]
        assert len(called) == len(set(called))
        if look >= lag:
            for record in world.told:
                if record.topic == JOB_ASSIGNED.name:
                    told = decode(record.value, JobAssigned)
                    world.table.job_ids.setdefault(told.reference_id, told.call_job_id)
        if look in losses:
            (world.table.replay if losses[look] == "rows" else world.table.restore)()
        world.table.correct()
        if len(world.table.job_ids) == leads and world.table.task.state == "calling":
            break
        world.now += timedelta(seconds=next(rest, 16.0))
    world.now += POLICY.settle
    world.cloud.settle()
    assert len(world.cloud.jobs) == leads
    assert dict(world.cloud.jobs) == world.table.job_ids
    assert len(world.table.job_ids) == leads
