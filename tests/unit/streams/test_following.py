"""The follow-up agent with a table and a broker that tell the order of what happens to them."""

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from schemas.codec import decode, encode
from schemas.followups import FollowedUp
from schemas.ids import CallJobId, EventId, ReferenceId, TaskId
from schemas.instants import from_milliseconds
from schemas.jobs import StatusChanged, Turn
from schemas.topics import FOLLOWED_UP, STATUS_CHANGED
from streams.analysis.protocol import Analyzer, Verdict
from streams.analysis.rules import RuleAnalyzer
from streams.following import MOST_TAKEN, Follower, WindowedIntake
from streams.outbox import Outbox
from tests.fixtures.faust_stream import StubApp, StubStream
from tests.fixtures.journal import FixedClock, Journal

T0 = 1_790_000_000_000


def records_of(journal: Journal) -> list[FollowedUp]:
    """The follow-ups that were sent."""
    return [decode(record.value, FollowedUp) for record in journal.sent if record.topic == FOLLOWED_UP.name]


@dataclass
class Oracle:
    """An analyzer whose answers come when the test says so; knows how many it was asked at once."""

    waiting: list[tuple[str, asyncio.Future[Verdict]]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    most: int = 0

    def analyze(self, conversation: Sequence[Turn]) -> Awaitable[Verdict]:
        """Return what will be the answer."""
        future: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self.asked.append(conversation[0].script)
        self.waiting.append((conversation[0].script, future))
        self.most = max(self.most, sum(not future.done() for _, future in self.waiting))
        return future

    def tell(self, words: str) -> None:
        """Answer the question about these words."""
        future = next(future for said, future in self.waiting if said == words and not future.done())
        future.set_result(Verdict(is_interested=1, summary=words, reason="", analyzer="oracle"))


class Event:
    """An event of Faust that knows whether it is acknowledged."""

    def __init__(self, value: bytes, *, offset: int = 0, partition: int = 0, generation: int = 1) -> None:
        self.value = value
        self.message = SimpleNamespace(
            topic=STATUS_CHANGED.name, partition=partition, offset=offset, key=b"k", value=value, headers=[],
            generation_id=generation,
        )  # fmt: skip
        self.is_acknowledged = False

    def acknowledge(self) -> None:
        """Be acknowledged."""
        self.is_acknowledged = True


def ended(job: str, words: str, *, version: int = 5, is_terminal: bool = True) -> bytes:
    """The end of a call."""
    return encode(
        StatusChanged(
            event_id=EventId(f"{job}-{version}"),
            task_id=TaskId("task"),
            reference_id=ReferenceId("ref"),
            call_job_id=CallJobId(job),
            version=version,
            observed_at=from_milliseconds(T0),
            call_status="Succeeded",
            call_conversation=(Turn(speaker="Contact", script=words),) if words else (),
            changed=(),
            is_terminal=is_terminal,
        )
    )


@dataclass
class Agent:
    """A follow-up agent in the middle of its work."""

    analyzer: Analyzer
    journal: Journal = field(default_factory=Journal)
    app: StubApp = field(default_factory=StubApp)
    at_once: int = 2
    most: int = 100

    async def start(self, events: Iterable[Event]) -> None:
        """Begin to work through events."""
        follower = Follower(self.journal, Outbox(self.journal, "group"), self.analyzer, FixedClock())
        self.stream = StubStream(events)
        intake = WindowedIntake(cast(Any, self.app), follower, at_once=self.at_once, most=self.most)
        self.task = asyncio.create_task(intake.run(self.stream))
        await self.rest()

    async def rest(self) -> None:
        """Return when nothing more happens by itself."""
        for _ in range(50):
            await asyncio.sleep(0)

    async def stop(self) -> None:
        """End it as Faust does."""
        self.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await self.task


def test_ended_calls_get_one_record_each_and_nothing_is_acknowledged_before_it_is_written() -> None:
    """A call without a conversation gets a plain one, a repeat none, a running call none, rubbish is a dead letter."""

    async def scenario() -> None:
        agent = Agent(RuleAnalyzer(), at_once=100)
        values = [
            ended("a", ""),
            ended("b", "没兴趣"),
            ended("b", "没兴趣"),
            ended("c", "喂", is_terminal=False),
            b"[]",
        ]
        events = [Event(value, offset=number) for number, value in enumerate(values)]
        await agent.start(events)
        records = records_of(agent.journal)
        assert [(each.call_job_id, each.is_interested, each.analyzer) for each in records] == [
            ("a", 0, "rules"),
            ("b", 2, "rules"),
        ]
        assert records[0].version == 1_795_420_800_123
        sent = [f"sent {FOLLOWED_UP.name}"] * 2 + [f"sent {STATUS_CHANGED.dead_letters}"]
        assert agent.journal.happened == [*sent, "wrote a", "wrote b"]
        assert all(event.is_acknowledged for event in events)
        await agent.stop()

    asyncio.run(scenario())


def test_analyses_run_side_by_side_and_are_acknowledged_in_order() -> None:
    """The second answer comes first: its record goes out at once, its offset waits for the first."""

    async def scenario() -> None:
        oracle = Oracle()
        agent = Agent(oracle, at_once=2)
        events = [Event(ended(job, job), offset=number) for number, job in enumerate("abc")]
        await agent.start(events)
        assert oracle.asked == ["a", "b"]
        oracle.tell("b")
        await agent.rest()
        assert oracle.asked == ["a", "b", "c"]
        assert [record.call_job_id for record in records_of(agent.journal)] == ["b"]
        assert [event.is_acknowledged for event in events] == [False, False, False]
        oracle.tell("a")
        await agent.rest()
        assert [event.is_acknowledged for event in events] == [True, True, False]
        oracle.tell("c")
        await agent.rest()
        assert (oracle.most, [event.is_acknowledged for event in events]) == (2, [True] * 3)
        await agent.stop()

    asyncio.run(scenario())


def test_each_partition_has_its_own_analyses_under_way() -> None:
    """One that is stuck holds up no other."""

    async def scenario() -> None:
        oracle = Oracle()
        agent = Agent(oracle, at_once=1)
        events = [Event(ended(job, job), partition=number % 2) for number, job in enumerate("abcd")]
        await agent.start(events)
        assert oracle.asked == ["a", "b"]
        oracle.tell("b")
        await agent.rest()
        assert oracle.asked == ["a", "b", "d"]
        await agent.stop()

    asyncio.run(scenario())


def test_two_questions_about_one_job_are_asked_in_turn() -> None:
    """The second sees the row of the first: the same words are not asked twice, others only when it is written."""

    async def scenario() -> None:
        oracle = Oracle()
        agent = Agent(oracle, at_once=5)
        same, other = ended("a", "x", version=6), ended("a", "y", version=7)
        await agent.start([Event(ended("a", "x")), Event(same), Event(other)])
        assert oracle.asked == ["x"]
        oracle.tell("x")
        await agent.rest()
        assert oracle.asked == ["x", "y"]
        oracle.tell("y")
        await agent.rest()
        versions = [record.version for record in records_of(agent.journal)]
        assert [record.summary for record in records_of(agent.journal)] == ["x", "y"]
        assert versions == sorted(set(versions))
        await agent.stop()

    asyncio.run(scenario())


def test_a_full_window_takes_nothing_more() -> None:
    """Memory is bounded: what does not fit stays where it is, until the oldest answer is there."""

    async def scenario() -> None:
        oracle = Oracle()
        agent = Agent(oracle, at_once=1, most=3)
        events = [Event(ended(f"{number}", f"{number}")) for number in range(1_000)]
        await agent.start(events)
        assert agent.stream.queue.qsize() >= 1_000 - 3 - MOST_TAKEN
        for number in range(1_000):
            oracle.tell(f"{number}")
            await agent.rest()
        assert all(event.is_acknowledged for event in events)
        await agent.stop()

    asyncio.run(scenario())


def test_an_error_crashes_the_application_with_nothing_acknowledged() -> None:
    """Where the broker does not take the records, no row is written and no offset moves."""

    async def scenario() -> None:
        agent = Agent(RuleAnalyzer(), journal=Journal(is_away=True))
        events = [Event(ended("a", "x")), Event(ended("b", "x"))]
        await agent.start(events)
        assert [str(error) for error in agent.app.crashed] == ["away"]
        assert (agent.journal.rows, [event.is_acknowledged for event in events]) == ({}, [False, False])
        await agent.stop()

    asyncio.run(scenario())


def test_before_a_rebalance_what_ends_in_time_is_acknowledged_and_the_rest_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next owner begins behind what was acknowledged; answers that come later have no effect here."""
    monkeypatch.setattr("streams.following.ENOUGH_SECONDS", 0.2)

    async def scenario() -> None:
        oracle = Oracle()
        agent = Agent(oracle, at_once=2)
        events = [Event(ended(job, job), offset=number) for number, job in enumerate("abc")]
        await agent.start(events)
        revoking = asyncio.create_task(agent.app.revoke())
        await agent.rest()
        oracle.tell("a")
        await revoking
        assert [event.is_acknowledged for event in events] == [True, False, False]
        assert (oracle.asked, agent.app.commits) == (["a", "b"], 1)
        again = [Event(ended(job, job), generation=2) for job in "bc"]
        agent.stream.queue.put_nowait(Event(ended("d", "d"), generation=1))
        for event in again:
            agent.stream.queue.put_nowait(event)
        await agent.rest()
        assert oracle.asked == ["a", "b", "b", "c"]
        for job in "bc":
            oracle.waiting = [(said, future) for said, future in oracle.waiting if not future.cancelled()]
            oracle.tell(job)
        await agent.rest()
        assert all(event.is_acknowledged for event in again)
        assert [record.call_job_id for record in records_of(agent.journal)] == ["a", "b", "c"]
        await agent.stop()

    asyncio.run(scenario())
