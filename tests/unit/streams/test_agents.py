"""The agents' work on a batch, with a table and a broker that tell the order of what happens to them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import pytest

from runtime.errors import RetryableError
from schemas.codec import decode, encode
from schemas.ids import CallJobId, PageId, ReferenceId, TaskId
from schemas.instants import from_milliseconds, to_milliseconds
from schemas.jobs import JobSnapshot, JobsPolled, StatusChanged
from schemas.topics import JOBS_POLLED, STATUS_CHANGED
from streams.app import HeldEvent
from streams.changes import ChangePolicy, decode_row
from streams.detection import Detector
from streams.intake import Intake
from streams.outbox import Outbox
from tests.fixtures.faust_stream import StubApp, StubStream
from tests.fixtures.journal import FixedClock, Journal

T0 = 1_790_000_000_000


def event(topic: str, value: bytes | None, *, partition: int = 3, key: bytes = b"whatever") -> HeldEvent:
    """An event as Faust hands it over."""
    message = SimpleNamespace(
        topic=topic, partition=partition, offset=7, key=key, value=value, headers=[("h", b"1")], generation_id=1
    )
    return HeldEvent(cast(Any, None), key, value, None, cast(Any, message))


def page(at: int, *statuses: str) -> bytes:
    """A page of jobs with these statuses."""
    jobs = tuple(
        JobSnapshot(
            task_id=TaskId("task"),
            reference_id=ReferenceId(f"ref-{number}"),
            call_job_id=CallJobId(f"job-{number}"),
            call_status=status,
            call_conversation=(),
            stored_version=0,
        )
        for number, status in enumerate(statuses)
    )
    return encode(JobsPolled(page_id=PageId("page"), observed_at=from_milliseconds(T0 + at), jobs=jobs))


def detect(journal: Journal, *pages: bytes | None) -> None:
    """Let a detector work on one batch."""
    detector = detector_on(journal)
    asyncio.run(detector.settle(detector.decide([event(JOBS_POLLED.name, value) for value in pages])))


def detector_on(journal: Journal) -> Detector:
    """Make a detector."""
    return Detector(journal, Outbox(journal, "group"), ChangePolicy(), FixedClock(), topic_prefix="x.")


def test_pages_of_one_key_are_applied_in_turn_and_written_once_after_the_events() -> None:
    """Events first, then one row under the page's id, in the message's partition whatever its key."""
    journal = Journal()
    detect(journal, page(0, "A", "A"), page(1, "A", "B"), page(2, "A", "C"))
    assert journal.happened == [f"sent x.{STATUS_CHANGED.name}"] * 4 + ["wrote page"]
    assert [decode(record.value, StatusChanged).call_status for record in journal.sent] == ["A", "A", "B", "C"]
    assert [write.partition for write in journal.writes] == [3]
    assert decode_row(journal.rows[b"page"])[CallJobId("job-1")].version == T0 + 2


def test_an_unchanged_page_is_only_noted() -> None:
    """Its age counts at once, but nothing is written for it."""
    journal = Journal()
    detect(journal, page(0, "A"))
    journal.happened.clear()
    detect(journal, page(5, "A"))
    detect(journal, page(4, "B"))
    assert journal.happened == []


def test_rubbish_becomes_a_dead_letter_beside_the_events() -> None:
    """One page's fault is not its neighbour's; a tombstone is rubbish too."""
    journal = Journal()
    detect(journal, b"rubbish", page(0, "A"), None)
    letters = [record for record in journal.sent if record.topic == JOBS_POLLED.dead_letters]
    assert [letter.value for letter in letters] == [b"rubbish", None]
    assert letters[0].headers[0] == ("h", b"1")
    assert journal.happened[-1] == "wrote page"


def test_a_page_from_the_future_is_a_dead_letter() -> None:
    """It would make every later page of its key an older one; a day is left for clocks that differ."""
    now_ms = to_milliseconds(FixedClock().now())
    journal = Journal()
    far, near = (page(now_ms + ms - T0, "A") for ms in (86_400_001, 86_400_000))
    detect(journal, far, near)
    [letter] = [record for record in journal.sent if record.topic == JOBS_POLLED.dead_letters]
    assert letter.value == far
    assert b"observed_at" in (dict(letter.headers)["__connect.errors.exception.message"] or b"")
    assert journal.happened[-1] == "wrote page"


def test_a_page_from_before_all_versions_is_a_dead_letter() -> None:
    """At the beginning of the calendar an offset leads beyond it; nothing here may stop the worker for ever."""
    journal = Journal()
    value = page(0, "A").replace(b"2026-09-21T14:13:20.000Z", b"0001-01-01T00:00:00+10:00")
    detect(journal, value)
    assert [(record.topic, record.value) for record in journal.sent] == [(JOBS_POLLED.dead_letters, value)]


def test_a_page_that_the_table_could_not_hold_is_a_dead_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker would refuse its row for ever: no event is emitted for it and nothing is written."""
    monkeypatch.setattr("streams.detection.MAX_ROW_BYTES", 50)
    journal = Journal()
    detect(journal, page(0, "A", "B"))
    assert journal.happened == [f"sent {JOBS_POLLED.dead_letters}"]
    assert journal.rows == {}


def test_nothing_is_written_when_the_events_are_not_acknowledged() -> None:
    """Writing the table first would lose the change."""
    journal = Journal(is_away=True)
    with pytest.raises(RetryableError):
        detect(journal, page(0, "A"))
    assert (journal.happened, journal.writes) == ([], [])


def test_a_batch_is_decided_on_what_was_decided_before_settled_or_not() -> None:
    """Both rows are written in their turn, and nothing is emitted twice."""
    journal = Journal()
    detector = detector_on(journal)
    first, second = (
        detector.decide([event(JOBS_POLLED.name, value)]) for value in (page(0, "A", "A"), page(1, "A", "B"))
    )
    assert journal.happened == []
    for effects in (first, second):
        asyncio.run(detector.settle(effects))
    sent = f"sent x.{STATUS_CHANGED.name}"
    assert journal.happened == [sent, sent, "wrote page", sent, "wrote page"]
    rows = [decode_row(write.value)[CallJobId("job-1")].version for write in journal.writes]
    assert rows == [T0, T0 + 1]


Settle = Callable[[Sequence[HeldEvent]], Awaitable[None]]


@dataclass
class StubWorker:
    """Has batches settled by a function that is given each of them."""

    how: Settle

    def decide(self, batch: Sequence[HeldEvent]) -> Sequence[HeldEvent]:
        """Decide nothing."""
        return batch

    async def settle(self, effects: Sequence[HeldEvent]) -> None:
        """Do as told."""
        await self.how(effects)


def intake_of(app: StubApp, settle: Settle, *, most: int = 50) -> Intake[Any]:
    """Make an intake that settles so."""
    return Intake(cast(Any, app), StubWorker(settle), most=most)


class StubEvent:
    """An event that knows whether it is acknowledged."""

    def __init__(self, generation: int = 1) -> None:
        self.message = SimpleNamespace(generation_id=generation)
        self.is_acknowledged = False

    def acknowledge(self) -> None:
        """Be acknowledged."""
        self.is_acknowledged = True


async def run_for_a_moment(intake: Intake[Any], events: Sequence[StubEvent]) -> None:
    """Run an agent's loop until it has nothing left to do."""
    task = asyncio.create_task(intake.run(StubStream(events)))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_batch_is_acknowledged_after_its_work() -> None:
    """In batches no larger than allowed, each after all its effects."""
    batches: list[int] = []
    events = [StubEvent() for _ in range(5)]

    async def work(batch: Sequence[HeldEvent]) -> None:
        assert not any(cast(Any, each).is_acknowledged for each in batch)
        batches.append(len(batch))
        await asyncio.sleep(0.001)

    asyncio.run(run_for_a_moment(intake_of(StubApp(), work, most=2), events))
    assert sum(batches) == 5
    assert max(batches) == 2
    assert all(each.is_acknowledged for each in events)


def test_batches_are_decided_while_those_before_are_settled() -> None:
    """Two ahead and no more; no effect begins before all effects of the batch before are there."""
    happened: list[str] = []
    released = asyncio.Event()

    class Telling(StubWorker):
        def decide(self, batch: Sequence[HeldEvent]) -> Sequence[HeldEvent]:
            happened.append("decided")
            return super().decide(batch)

    async def settle(_batch: Sequence[HeldEvent]) -> None:
        happened.append("begun")
        await released.wait()
        happened.append("settled")

    def release() -> None:
        happened.append("released")
        released.set()

    async def scenario() -> None:
        intake = Intake(cast(Any, StubApp()), Telling(settle), most=1)
        asyncio.get_running_loop().call_later(0.02, release)
        await run_for_a_moment(intake, [StubEvent() for _ in range(5)])

    asyncio.run(scenario())
    assert happened[: happened.index("released")] == ["decided", "begun", "decided", "decided"]
    assert [what for what in happened if what in {"begun", "settled"}] == ["begun", "settled"] * 5


def test_what_was_decided_is_settled_though_the_agent_is_cancelled() -> None:
    """Its rows are held already: read again in this process, its pages would show no change any more."""
    released = asyncio.Event()
    events = [StubEvent() for _ in range(2)]

    async def settle(_batch: Sequence[HeldEvent]) -> None:
        await released.wait()

    async def scenario() -> None:
        app = StubApp()
        intake = intake_of(app, settle, most=1)
        await run_for_a_moment(intake, events)
        asyncio.get_running_loop().call_later(0.02, released.set)
        for handler in app.on_before_shutdown.handlers:
            await handler(app)
        assert [event.is_acknowledged for event in events] == [True, True]
        assert app.commits == 1

    asyncio.run(scenario())


def test_an_error_is_noticed_though_no_further_batch_comes() -> None:
    """And the batch that was decided on its rows has no effect."""
    app, begun = StubApp(), []

    async def settle(batch: Sequence[HeldEvent]) -> None:
        begun.append(batch)
        await asyncio.sleep(0.01)
        raise ValueError("refused")

    asyncio.run(run_for_a_moment(intake_of(app, settle, most=1), [StubEvent() for _ in range(2)]))
    assert [str(error) for error in app.crashed] == ["refused"]
    assert len(begun) == 1


def test_what_is_done_between_batches_has_its_own_turn() -> None:
    """A sweep and a batch never overlap, so their writes have one order."""
    happened: list[str] = []

    async def work(_batch: Sequence[HeldEvent]) -> None:
        happened.append("batch begins")
        await asyncio.sleep(0.001)
        happened.append("batch ends")

    async def sweep() -> None:
        happened.append("sweep begins")
        await asyncio.sleep(0.001)
        happened.append("sweep ends")

    async def scenario() -> None:
        intake, events = intake_of(StubApp(), work, most=1), [StubEvent() for _ in range(3)]
        agent = asyncio.create_task(intake.run(StubStream(events)))
        for _ in range(3):
            await intake.between(sweep)
        while not events[-1].is_acknowledged:  # noqa: ASYNC110 - a stub that tells nobody
            await asyncio.sleep(0.001)
        agent.cancel()

    asyncio.run(scenario())
    assert len(happened) == 12
    assert all(
        last == first.replace("begins", "ends") for first, last in zip(happened[::2], happened[1::2], strict=True)
    )


def test_a_sweep_that_fails_crashes_the_application() -> None:
    """A tombstone that is not acknowledged is as bad as a row that is not."""
    app = StubApp()

    async def work(_batch: Sequence[HeldEvent]) -> None:
        raise AssertionError("nothing more is taken")

    async def sweep() -> None:
        raise ValueError("refused")

    async def scenario() -> None:
        intake = intake_of(app, work)
        sweeping = asyncio.create_task(intake.between(sweep))
        await run_for_a_moment(intake, [StubEvent()])
        sweeping.cancel()

    asyncio.run(scenario())
    assert [str(error) for error in app.crashed] == ["refused"]


def test_an_error_crashes_the_application_with_nothing_acknowledged() -> None:
    """The failed batch and what came after it are read again by the next process."""
    app, events = StubApp(), [StubEvent() for _ in range(3)]

    async def work(_batch: Sequence[HeldEvent]) -> None:
        raise ValueError("poison")

    asyncio.run(run_for_a_moment(intake_of(app, work, most=2), events))
    assert [str(error) for error in app.crashed] == ["poison"]
    assert not any(each.is_acknowledged for each in events)


def test_events_of_revoked_partitions_are_left_to_their_next_owner() -> None:
    """After a rebalance only what came with the new generation is worked on."""
    app, old, new = StubApp(), StubEvent(1), StubEvent(2)
    seen: list[int | None] = []

    async def work(batch: Sequence[HeldEvent]) -> None:
        seen.extend(each.message.generation_id for each in batch)

    async def scenario() -> None:
        intake = intake_of(app, work)
        await app.revoke()
        await run_for_a_moment(intake, [old, new])

    asyncio.run(scenario())
    assert (seen, old.is_acknowledged, new.is_acknowledged, app.commits) == ([2], False, True, 1)


def test_faust_cannot_acknowledge_a_held_event() -> None:
    """Faust acknowledges what it skips or cancels; only `settle` counts."""
    assert event("topic", b"").ack() is False
