"""When a task is looked at and what is listed then: the rules one by one, and their promises over whole days."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.schedule import (
    AGAIN,
    ASLEEP,
    LONGEST_BACK_OFF,
    SETTLING,
    SMALL,
    Census,
    Lease,
    PollPolicy,
    Scope,
    Standing,
    back_off,
    decide,
    difference,
    is_done,
    leave,
    next_look,
)
from schemas.ids import JobGroupId, TaskId
from schemas.jobs import ENDED_STATUSES

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)  # 16 o'clock in Beijing
SECOND = timedelta(seconds=1)
POLICY = PollPolicy(shortest=5 * SECOND, longest=300 * SECOND)
STATUSES = ("Scheduling", "Executing", "Paused", "Succeeded", "Failed", "Cancelled")
OFFICE = ((time(9), time(12)), (time(14), time(18)))


def lease(*, quiet: float = 0, state: str | None = "calling", repair: bool = False, **standing: Any) -> Lease:
    """A task that was listed whole ten seconds ago, and in which nothing has moved for `quiet` seconds."""
    fields: dict[str, Any] = {"whole_at": NOW - 10 * SECOND, "moved_at": NOW - quiet * SECOND}
    return Lease(
        task_id=TaskId("task-1"),
        job_group_id=JobGroupId("group-1"),
        state=state,
        observed_at=NOW,
        standing=Standing(**fields | standing),
        repair_requested=repair,
        owner="me",
        due_at=NOW + 20 * SECOND,
    )


def census(unassigned: int = 0, *, settled: float | None = None, **jobs: int) -> Census:
    """The counts of a task; `settled` is how many seconds ago the first call ended that was not seen since."""
    first = None if settled is None else NOW - settled * SECOND
    counted: dict[str | None, int] = dict(jobs.items())
    return Census(unassigned=unassigned, jobs=counted, first_settled_at=first)


@pytest.mark.parametrize(
    ("counts", "more"),
    [
        ({"Scheduling": 2, "Executing": 1, "Paused": 0, "Failed": 0, "Cancelled": 0}, {}),
        ({"Scheduling": 1, "Executing": 2, "Paused": 0, "Failed": 0}, {"Scheduling": -1, "Executing": 1}),
        ({"Scheduling": 2, "Executing": 1, "Duration": 77}, {}),
    ],
)
def test_counts_are_compared_by_every_status_that_the_cloud_names(counts: dict[str, int], more: dict[str, int]) -> None:
    """Jobs that the cloud does not know are not counted, nor are its other numbers, nor what it does not name."""
    assert difference(census(Scheduling=2, Executing=1, Succeeded=1, NotExist=3), counts) == more


@pytest.mark.parametrize(
    ("task", "rows", "counts", "scope"),
    [
        (lease(), census(Scheduling=500), {"Scheduling": 500}, Scope.NOTHING),
        (lease(), census(Scheduling=500), {"Scheduling": 499, "Executing": 1}, Scope.MOVED),
        (lease(), census(Scheduling=SMALL), {"Scheduling": SMALL - 1, "Executing": 1}, Scope.OPEN),
        (lease(), census(Scheduling=500), {"Scheduling": 499, "Cancelled": 1}, Scope.OPEN),
        (lease(), census(Scheduling=500), {"Scheduling": 0, "Paused": 500}, Scope.OPEN),
        (lease(), census(Scheduling=500), None, Scope.OPEN),
        (lease(whole_at=None), census(Scheduling=500), {"Scheduling": 500}, Scope.OPEN),
        (lease(whole_at=NOW - 296 * SECOND), census(Scheduling=500), {"Scheduling": 500}, Scope.OPEN),
        (lease(repair=True), census(Succeeded=1), None, Scope.EVERYTHING),
        (lease(repair=True), census(unassigned=1), None, Scope.NOTHING),
        (lease(), census(Succeeded=1), None, Scope.NOTHING),
        (lease(), census(Succeeded=1, settled=2), None, Scope.NOTHING),
        (lease(), census(Succeeded=1, settled=3), None, Scope.SETTLED),
        (lease(), census(Scheduling=500, Succeeded=1, settled=3), {"Scheduling": 500}, Scope.SETTLED),
        (lease(), census(unassigned=5), None, Scope.NOTHING),
    ],
)
def test_what_is_listed(task: Lease, rows: Census, counts: dict[str, int] | None, scope: Scope) -> None:
    """Nothing where the counts agree and the last listing is young; else as little as can hold what moved."""
    assert decide(task, rows, POLICY, counts).scope is scope


def test_a_difference_that_stays_is_listed_twice_and_then_accepted() -> None:
    """First what a call can have moved, then all of it; what is left is not ours, until it changes or is gone."""
    rows, standing, scopes = census(Scheduling=500), lease().standing, []
    strangers = {"Scheduling": 507, "Executing": 2}
    for counts in [strangers] * 4 + [{"Scheduling": 506, "Executing": 3}] + [strangers] * 2 + [{"Scheduling": 500}] * 2:
        task = msgspec_lease(standing)
        look = decide(task, rows, POLICY, counts)
        standing = leave(task, look, is_moving=False)
        scopes.append(look.scope.name)
    assert scopes == ["MOVED", "OPEN", "NOTHING", "NOTHING", "MOVED", "MOVED", "NOTHING", "NOTHING", "NOTHING"]
    assert standing.baseline == {}


def msgspec_lease(standing: Standing) -> Lease:
    """A lease with what a look left, as it comes back from the database."""
    stored = msgspec.json.decode(msgspec.json.encode(standing), type=Standing)
    assert stored == standing
    fields = {name: getattr(stored, name) for name in Standing.__struct_fields__}
    return lease(**fields)


@pytest.mark.parametrize(
    ("task", "rows", "wait"),
    [
        (lease(), census(Scheduling=3), 5),
        (lease(quiet=900), census(Scheduling=3), 30),
        (lease(quiet=90_000), census(Paused=3), 285),
        (lease(quiet=90_000, whole_at=NOW), census(Paused=3), 295),
        (lease(quiet=90_000), census(Paused=3, unassigned=1), 10),
        (lease(state="done"), census(Succeeded=3), ASLEEP.total_seconds()),
        (lease(state=None), census(unassigned=3), ASLEEP.total_seconds()),
        (lease(state="starting"), census(unassigned=3), 5),
        (lease(state="done"), census(Succeeded=3, settled=1), 5),
        (lease(quiet=9_000), census(Scheduling=1, settled=-20), 24),
    ],
)
def test_when_the_next_look_is_due(task: Lease, rows: Census, wait: float) -> None:
    """Soon while calls run, later the longer nothing moves, and not at all where nothing is open."""
    assert next_look(task, rows, task.standing, POLICY).total_seconds() == wait
    assert timedelta(seconds=4) == AGAIN > SETTLING


@pytest.mark.parametrize(
    ("hour", "minute", "quiet", "wait"),
    [
        (16, 0, 3_000, 100),
        (14, 1, 7_000, 5),
        (13, 0, 100, 100),
        (13, 0, 3_000, 295),
        (13, 58, 3_000, 120),
        (20, 0, 100_000, 295),
        (8, 59, 100_000, 60),
    ],
)
def test_working_hours_bound_the_wait(hour: int, minute: int, quiet: float, wait: float) -> None:
    """Outside of them every `longest`, and again at their beginning; the quiet of a break is none of the work."""
    now = NOW.replace(hour=hour - 8, minute=minute)
    standing = Standing(moved_at=now - quiet * SECOND, whole_at=now)
    task = Lease(**{**vars(lease()), "observed_at": now})
    assert next_look(task, census(Scheduling=9), standing, POLICY, hours=OFFICE).total_seconds() == wait


def test_a_job_in_doubt_is_asked_for_again_in_time() -> None:
    """However quiet the task is."""
    task = lease(quiet=90_000)
    assert next_look(task, census(Paused=3), task.standing, POLICY, ask_again=60 * SECOND) == 60 * SECOND


def test_a_call_that_ended_is_listed_once_more_and_then_no_more() -> None:
    """The instants after and until which ends are listed again follow from the looks alone."""
    standing, listed = lease().standing, []
    for after in (1, 4, 8):
        task = Lease(**{**vars(lease()), "observed_at": NOW + after * SECOND, "standing": standing})
        listed.append(task.settled_after < NOW <= task.settled_until)
        rows = census(Scheduling=500, settled=0 if after < 8 else None)
        standing = leave(task, decide(task, rows, POLICY, {"Scheduling": 500}), is_moving=False)
    assert listed == [False, True, False]


def test_ends_of_a_task_that_was_never_looked_at_are_bounded() -> None:
    """Without a look only ends of the last minutes are listed again."""
    assert lease().settled_after == NOW - timedelta(minutes=10)


@pytest.mark.parametrize(
    ("task", "rows", "done"),
    [
        (lease(), census(Succeeded=2, Cancelled=1), True),
        (lease(), census(Succeeded=2, settled=1), False),
        (lease(), census(Succeeded=2, unassigned=1), False),
        (lease(), census(Succeeded=2, Paused=1), False),
        (lease(), census(), False),
        (lease(state="paused"), census(Succeeded=2), False),
        (lease(state="done"), census(Succeeded=2), False),
    ],
)
def test_when_a_task_is_done(task: Lease, rows: Census, *, done: bool) -> None:
    """Every lead has a job, every job ended and was seen since; only a task that is being called comes to its end."""
    assert is_done(task, rows) is done


def test_back_off_grows_to_a_minute_and_honours_what_the_cloud_asks_for() -> None:
    """The cloud's own word counts where it is longer."""
    waits = [back_off(failures, POLICY).total_seconds() for failures in range(1, 8)]
    assert waits == [5, 10, 20, 40, LONGEST_BACK_OFF, LONGEST_BACK_OFF, LONGEST_BACK_OFF]
    assert back_off(1, POLICY, retry_after=90) == 90 * SECOND
    assert back_off(1, POLICY, retry_after=1) == 5 * SECOND
    assert back_off(10_000, POLICY).total_seconds() == LONGEST_BACK_OFF


@dataclass
class Story:
    """A task's life as a poller sees it: the cloud's jobs and strangers, rows that lag a look behind, and its clock."""

    cloud: list[str]
    strangers: Counter[str] = field(default_factory=Counter)
    is_sink_away: bool = False
    now: datetime = NOW
    standing: Standing = field(default_factory=Standing)
    called: set[int] = field(default_factory=set)
    rows: list[str | None] = field(default_factory=list)
    listed_at: dict[int, datetime] = field(default_factory=dict)
    looks: list[tuple[datetime, Scope, int]] = field(default_factory=list)
    _published: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Rows begin without a status, as the starter leaves them."""
        self.rows = [None for _ in self.cloud]

    def move(self, job: int, status: str) -> None:
        """Somebody calls, or a call ends, or a person interferes."""
        if self.cloud[job] not in ENDED_STATUSES:
            self.cloud[job] = status
            if status in {"Executing", "Succeeded", "Failed"}:
                self.called.add(job)

    def look(self) -> list[int]:
        """Make one look and wait until the next; returns the jobs that were listed."""
        if not self.is_sink_away:
            for job, status in self._published.items():
                self.rows[job] = status
            self._published.clear()
        task = Lease(**{**vars(lease()), "observed_at": self.now, "standing": self.standing})
        rows = Census(unassigned=0, jobs=Counter(self.rows))
        look = decide(task, rows, POLICY, Counter(self.cloud) + self.strangers)
        open_jobs = [job for job, status in enumerate(self.rows) if status not in ENDED_STATUSES]
        listed = [job for job in open_jobs if look.scope is Scope.OPEN]
        if look.scope is Scope.MOVED:
            listed = [job for job in open_jobs if self.rows[job] in {None, "Executing"} or job in self.called]
            self.called.clear()
        moved = any(self.cloud[job] != self.rows[job] for job in listed)
        self._published |= {job: self.cloud[job] for job in listed}
        self.listed_at |= dict.fromkeys(listed, self.now)
        self.looks.append((self.now, look.scope, len(listed)))
        self.standing = leave(task, look, is_moving=look.is_moving or moved)
        self.now += next_look(task, rows, self.standing, POLICY)
        return listed


events = st.lists(
    st.one_of(
        st.tuples(st.just("move"), st.integers(0, 10_000), st.sampled_from(STATUSES)),
        st.tuples(st.just("strangers"), st.integers(0, 5), st.sampled_from(STATUSES)),
        st.tuples(st.just("sink"), st.booleans(), st.none()),
        st.just(("look", 1, None)),
        st.tuples(st.just("look"), st.integers(1, 30), st.none()),
    ),
    max_size=80,
)


@given(jobs=st.sampled_from([1, 40, 150, 400]), script=events)
@settings(deadline=None, max_examples=150)
def test_no_open_job_is_starved_and_the_budget_holds_whatever_happens(jobs: int, script: list[Any]) -> None:
    """Strangers that come and go, a sink that is away, moves of any kind.

    Every open job is listed at least every `longest`; looks are at least `shortest` apart; none costs more than a
    listing of all that is open.
    """
    story = Story(["Scheduling"] * jobs)
    for kind, number, status in [("look", 1, None), *script, ("look", 40, None)]:
        if kind == "move":
            story.move(number % jobs, status)
        elif kind == "strangers":
            story.strangers[status] = number
        elif kind == "sink":
            story.is_sink_away = number
        for _ in range(number if kind == "look" else 0):
            is_open = [status not in ENDED_STATUSES for status in story.rows]
            starved = [job for job, at in story.listed_at.items() if is_open[job] and story.now - at > POLICY.longest]
            assert not starved
            story.look()
    gaps = [later[0] - earlier[0] for earlier, later in zip(story.looks, story.looks[1:], strict=False)]
    assert min(gaps) >= POLICY.shortest
    assert all(listed <= jobs for _, _, listed in story.looks)


@given(strangers=st.dictionaries(st.sampled_from(STATUSES), st.integers(0, 9)), jobs=st.sampled_from([40, 400]))
@settings(deadline=None, max_examples=60)
def test_jobs_of_strangers_in_the_group_cost_two_listings(strangers: dict[str, int], jobs: int) -> None:
    """Their counts never agree with the table; afterwards there is one whole listing every `longest`, no more."""
    story = Story(["Scheduling"] * jobs)
    for _ in range(3):
        story.look()
    story.strangers = Counter(strangers)
    begun = story.now
    while story.now - begun < 10 * POLICY.longest:
        story.look()
    listings = [at for at, scope, _ in story.looks if at >= begun and scope is not Scope.NOTHING]
    assert len(listings) <= 2 + 11


@given(
    moves=st.lists(st.tuples(st.integers(0, 399), st.sampled_from(["Executing", "Succeeded", "Failed"])), max_size=30)
)
@settings(deadline=None, max_examples=60)
def test_what_calls_move_is_listed_at_the_next_look(moves: list[tuple[int, str]]) -> None:
    """In a large task by the few that are named, and the table is the cloud's a look later."""
    story = Story(["Scheduling"] * 400)
    for _ in range(3):
        story.look()
    for job, status in moves:
        story.move(job, status)
    moved = {job for job, _ in moves if story.cloud[job] != "Scheduling"}
    assert moved <= set(story.look())
    assert story.looks[-1][2] <= len(moves)
    story.look()
    assert story.rows == story.cloud


@given(
    jobs=st.sampled_from([2, 40, 400]),
    strangers=st.dictionaries(st.sampled_from(STATUSES), st.integers(0, 3)),
    rounds=st.lists(st.tuples(st.booleans(), st.lists(st.integers(0, 39), max_size=4)), max_size=20),
)
@settings(deadline=None, max_examples=150)
def test_no_end_hides_behind_a_row_that_came_meanwhile(
    jobs: int, strangers: dict[str, int], rounds: list[tuple[bool, list[int]]]
) -> None:
    """Calls go on from look to look, and rows come late: counts may differ as before, and still something has moved."""
    story = Story(["Scheduling"] * jobs, strangers=Counter(strangers))
    for _ in range(4):
        story.look()
    further = {"Scheduling": "Executing", "Executing": "Failed"}
    for story.is_sink_away, calls in rounds:
        moved = {job for call in calls if (job := call % jobs) and story.cloud[job] in further}
        for job in moved:
            story.move(job, further[story.cloud[job]])
        assert moved <= set(story.look())
