"""Any history of the sink ends in the same table: the fold of the newest versions.

Hypothesis writes events in any order into any partition, cuts them into batches, crashes the sink before or after the
database's commit, and sets offsets back. PostgreSQL is real; the sink's own loop and writer run as they are.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from psycopg import Connection
from psycopg.rows import TupleRow

from devtools.processes import wait_until
from runtime.postgres import Database
from schemas.topics import ALL, AnyTopic
from sinks.mapping import BY_TOPIC
from tests.fixtures.fold import Effects, fold, take_snapshot
from tests.fixtures.scripted_consumer import Crash, LetterBox, Place, Topics, make_writer, run_sink
from tests.fixtures.sink_events import assigned, followed_up, lead, recorded
from tests.fixtures.sink_load import life_of, status_of

JOBS = st.integers(0, 1)
VERSIONS = st.integers(1, 6)
PARTITIONS = st.integers(0, 1)
PHASES = [Phase.explicit, Phase.generate, Phase.shrink]
SOURCES: dict[type[msgspec.Struct], AnyTopic] = {topic.event: topic for topic in ALL if topic.name in BY_TOPIC}
PLACES = st.tuples(st.sampled_from([topic.name for topic in SOURCES.values()]), PARTITIONS)

EVENTS = st.one_of(
    st.builds(lead, JOBS),
    st.builds(assigned, JOBS),
    st.builds(status_of, JOBS, VERSIONS),
    st.builds(lambda n, s, a: recorded(n, s, attempt=a), JOBS, VERSIONS, st.integers(1, 2)),
    st.builds(followed_up, JOBS, VERSIONS),
)
LIVES = st.builds(lambda number, length: life_of(number)[:length], JOBS, st.integers(2, 13))
CUTS = st.lists(st.tuples(PLACES, st.integers(1, 6)), min_size=1, max_size=12)


class FallibleDatabase(Database):
    """A database whose client dies before the commit of a transaction, where `crash_in` counts down to it."""

    crash_in = 0

    @contextmanager
    def transaction(self) -> Iterator[Connection[TupleRow]]:
        """Give a transaction; the crash rolls it back."""
        with super().transaction() as connection:
            yield connection
            self.crash_in -= 1
            if self.crash_in == 0:
                raise Crash


class Histories(RuleBasedStateMachine):
    """One database and one consumer group, whatever happens to the processes."""

    database: FallibleDatabase
    dsn: str

    def __init__(self) -> None:
        super().__init__()
        with psycopg.connect(self.dsn) as connection:
            connection.execute("truncate leads_task_list, leads_follow, parked_records")
        self.topics = Topics()
        self.box = LetterBox()

    @rule(events=st.lists(st.tuples(EVENTS, PARTITIONS), min_size=1, max_size=12))
    def publish(self, events: list[tuple[msgspec.Struct, int]]) -> None:
        """Somebody writes, in whatever order; the same event may come again and again."""
        for event, partition in events:
            self.topics.append(SOURCES[type(event)], partition, event)

    @rule(events=st.one_of(LIVES, st.lists(EVENTS, min_size=1, max_size=6)), partition=PARTITIONS)
    def live(self, events: list[msgspec.Struct], partition: int) -> None:
        """Each event is written and taken before the next one comes."""
        for event in events:
            topic = SOURCES[type(event)]
            self.topics.append(topic, partition, event)
            self._run([((topic.name, partition), 1000)], rows=1000)

    @rule(cuts=CUTS, rows=st.integers(1, 8))
    def work(self, cuts: list[tuple[Place, int]], rows: int) -> None:
        """A sink takes some records and leaves in peace."""
        self._run(cuts, rows=rows)

    @rule(cuts=CUTS, rows=st.integers(1, 8), transaction=st.integers(1, 4))
    def crash_before_the_commit(self, cuts: list[tuple[Place, int]], rows: int, transaction: int) -> None:
        """A sink dies with a transaction open."""
        self._run(cuts, rows=rows, crash_in_transaction=transaction)

    @rule(cuts=CUTS, rows=st.integers(1, 8), commit=st.integers(1, 4))
    def crash_after_the_commit(self, cuts: list[tuple[Place, int]], rows: int, commit: int) -> None:
        """A sink dies when the database has committed and the broker has not heard of it."""
        self._run(cuts, rows=rows, crash_in_commit=commit)

    @rule(place=PLACES, share=st.floats(0, 1))
    def set_back(self, place: Place, share: float) -> None:
        """Somebody sets offsets back."""
        if place in self.topics.committed:
            self.topics.committed[place] = int(self.topics.committed[place] * share)

    @invariant()
    def what_is_committed_has_its_effect(self) -> None:
        """No offset without the row, the parked record or a newer one."""
        effects = Effects(take_snapshot(self.dsn))
        assert [event for event in self.topics.events(is_committed=True) if not effects.has(event)] == []

    def teardown(self) -> None:
        """In the end all is read, and the table is the fold; nothing was anybody's dead letter."""
        self._run(self.topics.everything(), rows=1000)
        assert self.topics.is_done()
        writer, expected = make_writer(self.database, self.box), fold(self.topics.events())
        with suppress(TimeoutError):  # a sweep of the last sink may be under way, and this one leaves its records to it
            wait_until(
                lambda: not writer.sweep() and take_snapshot(self.dsn).rows == expected, seconds=10, what="the fold"
            )
        assert take_snapshot(self.dsn).rows == expected
        assert self.box.letters == []

    def _run(
        self,
        cuts: list[tuple[Place, int]],
        *,
        rows: int,
        crash_in_transaction: int = 0,
        crash_in_commit: int = 0,
    ) -> None:
        commits_left = [crash_in_commit]

        def on_commit() -> None:
            commits_left[0] -= 1
            if commits_left[0] == 0:
                raise Crash

        self.database.crash_in = crash_in_transaction
        with suppress(Crash):
            run_sink(self.topics, cuts, database=self.database, box=self.box, rows=rows, on_commit=on_commit)
        self.database.crash_in = 0


def explore(database: str, *, examples: int, steps: int) -> None:
    """Look for a history that ends otherwise."""
    fallible = FallibleDatabase(database, name="sink")
    fallible.open()
    try:
        machine = type("Histories", (Histories,), {"database": fallible, "dsn": database})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                deadline=None,
                phases=PHASES,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        fallible.close()


def test_any_history_ends_in_the_fold_of_the_newest_versions(database: str) -> None:
    """Duplicates, reorderings, cuts, crashes and replays of all kinds of records."""
    explore(database, examples=60, steps=12)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_ten_thousand_steps_of_history_end_in_the_fold(database: str) -> None:
    """The same for longer."""
    explore(database, examples=400, steps=25)
