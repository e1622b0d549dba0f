"""What can happen to a database and to the way there: the sink waits it out and the table is the fold of the topics."""

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from devtools.fault_proxy import FaultProxy
from devtools.postgres import EmbeddedPostgres
from devtools.processes import wait_until
from runtime.kafka import Publisher
from sinks.migrate import migrate
from tests.fixtures.ledger import Ledger
from tests.fixtures.sink_events import assigned, lead, status
from tests.fixtures.sink_load import Load, as_record
from tests.fixtures.sink_process import SinkProcess

OUTAGES = (
    "08006", "25006", "40001", "40P01", "42501", "42P01", "53100", "53200", "53300", "55P03", "57014", "58030", "XX000",
)  # fmt: skip


class Bench:
    """A sink under load, its books, and a direct way to its database."""

    def __init__(self, ledger: Ledger, load: Load, sink: SinkProcess, admin: psycopg.Connection) -> None:
        self.ledger = ledger
        self.load = load
        self.sink = sink
        self.admin = admin

    def wait_progress(self, seconds: float = 30) -> None:
        """Wait until more is committed than now."""
        before = self.ledger.progress()
        wait_until(lambda: self.ledger.progress() > before, seconds=seconds, what="progress", interval=0.1)

    def errors(self, sqlstate_class: str) -> float:
        """Return how many database errors of a class the sink has counted."""
        return self.sink.metric("callstream_database_errors_total", f'sqlstate_class="{sqlstate_class}"')

    def terminate_connections(self) -> None:
        """Cut the sink's connections by the server."""
        self.admin.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and application_name = 'callstream-sink'"
        )


@contextmanager
def bench(
    topics: str, publisher: Publisher, folder: Path, *, direct: str, through: str | None = None, seed: int = 1
) -> Iterator[Bench]:
    """Run a sink on the database `direct`, reached by the DSN `through`, under load; in the end judge the books."""
    with (
        Ledger(topics, direct) as ledger,
        SinkProcess(topics, through or direct, folder) as sink,
        psycopg.connect(direct, autocommit=True) as admin,
    ):
        with Load(publisher, seed=seed, rate=800) as load:
            made = Bench(ledger, load, sink, admin)
            made.wait_progress()
            yield made
            ledger.check()
        ledger.finish(seconds=60)
        assert sink.is_running()


def test_connections_that_the_server_terminates_again_and_again(
    topics: str, database: str, publisher: Publisher, tmp_path: Path
) -> None:
    """`pg_terminate_backend` ten times a second: said, counted, and nothing lost."""
    with bench(topics, publisher, tmp_path, direct=database) as running:
        for _ in range(20):
            running.terminate_connections()
            time.sleep(0.1)
        running.wait_progress()
        assert running.errors("57") > 0
        assert running.sink.logged("sink.waiting")


def test_a_server_that_stops_at_once_and_comes_back(topics: str, publisher: Publisher, tmp_path: Path) -> None:
    """PostgreSQL's immediate shutdown in the middle of everything, twice; the second outage lasts for seconds."""
    with EmbeddedPostgres() as server:
        dsn = server.create_database("callstream")
        migrate(dsn)
        with Ledger(topics, dsn) as ledger, SinkProcess(topics, dsn, tmp_path) as sink:
            with Load(publisher, seed=3, rate=800) as load:
                for seconds in (0.0, 4.0):
                    load.wait_sent(1000)
                    server.kill()
                    time.sleep(seconds)
                    if seconds:
                        assert sink.page("healthz")[0] == 200
                        wait_until(lambda: sink.page("readyz")[0] == 503, seconds=10, what="not ready")
                    server.start()
                    ledger.check()
                    sink.wait_ready(20)
            ledger.finish(seconds=60)
            assert sink.logged("sink.waiting")


def cut_at_many_bytes(
    topics: str, database: str, publisher: Publisher, folder: Path, counts: list[int], seed: int
) -> None:
    """Cut the connection after each of `counts` bytes, in a direction or over both."""
    port = int(psycopg.conninfo.conninfo_to_dict(database)["port"] or 0)
    directions = random.Random(seed)
    with FaultProxy("127.0.0.1", port) as proxy:
        through = database.replace(f":{port}/", f":{proxy.port}/")
        with bench(topics, publisher, folder, direct=database, through=through) as running:
            for count in counts:
                proxy.cut_after_bytes(count, toward=directions.choice(["client", "target", None]))
                assert proxy.wait_cut(20), f"not cut after {count} bytes"
                running.ledger.check()
                proxy.pass_through()
            running.wait_progress()


def test_a_connection_cut_after_any_number_of_bytes(
    topics: str, database: str, publisher: Publisher, tmp_path: Path
) -> None:
    """In the middle of a statement, of its answer, of the commit: the flush is done again."""
    chance = random.Random(5)
    counts = [0, 1, 5, *(int(10 ** chance.uniform(1, 5)) for _ in range(3))]
    cut_at_many_bytes(topics, database, publisher, tmp_path, counts, seed=5)


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_a_connection_cut_at_a_hundred_places(topics: str, database: str, publisher: Publisher, tmp_path: Path) -> None:
    """The long form; its result is in docs/proofs.md."""
    chance = random.Random(6)
    counts = [*range(0, 60, 2), *(int(10 ** chance.uniform(2, 5.3)) for _ in range(70))]
    cut_at_many_bytes(topics, database, publisher, tmp_path, counts, seed=6)


@pytest.mark.long
def test_a_stalled_connection_is_given_up_without_a_person(
    topics: str, database: str, publisher: Publisher, tmp_path: Path
) -> None:
    """A path that acknowledges and forwards nothing: not ready within 10 s, alive, and the sink goes on by itself.

    First everything is stalled, then the connections of that moment only, which never come back. A sink that is told
    to end in a stall ends in time.
    """
    port = int(psycopg.conninfo.conninfo_to_dict(database)["port"] or 0)
    with FaultProxy("127.0.0.1", port) as proxy:
        through = database.replace(f":{port}/", f":{proxy.port}/")
        with bench(topics, publisher, tmp_path, direct=database, through=through) as running:
            proxy.stall()
            wait_until(lambda: running.sink.page("readyz")[0] == 503, seconds=10, what="not ready")
            assert running.sink.page("healthz")[0] == 200
            proxy.pass_through()
            running.wait_progress()
            proxy.abandon()
            began = time.monotonic()
            running.wait_progress(seconds=40)
            print(f"a stalled connection cost {time.monotonic() - began:.1f} s")  # noqa: T201 - for docs/proofs.md
            proxy.stall()
            time.sleep(1)
            began = time.monotonic()
            assert running.sink.terminate(20) == 0
            proxy.pass_through()
            running.sink.start()


def wait_out(topics: str, database: str, publisher: Publisher, folder: Path, codes: Sequence[str]) -> None:
    """Let a trigger raise one error after the other, each until the sink has met it."""
    with bench(topics, publisher, folder, direct=database) as running:
        running.admin.execute("create table fault (code text)")
        running.admin.execute(
            "create function fail() returns trigger language plpgsql as $$ declare found text; begin"
            " select code into found from fault; if found is not null then"
            " raise exception 'as the test wishes' using errcode = found; end if; return new; end $$"
        )
        running.admin.execute(
            "create trigger fail before insert or update on leads_task_list for each row execute function fail()"
        )
        for code in codes:
            before = running.errors(code[:2])
            running.admin.execute("insert into fault values (%s)", (code,))
            wait_until(lambda: running.errors(code[:2]) > before, seconds=20, what=code, interval=0.05)  # noqa: B023
            running.ledger.check()
            running.admin.execute("delete from fault")
            running.wait_progress()
        said = {record["error"].split(":")[0] for record in running.sink.logged("sink.waiting")}
        assert said >= set(codes)


def test_a_full_disk_a_missing_grant_and_too_many_connections_are_waited_out(
    topics: str, database: str, publisher: Publisher, tmp_path: Path
) -> None:
    """SQLSTATE 53100, 42501 and 53300: counted by class, logged, no offset and no dead letter."""
    wait_out(topics, database, publisher, tmp_path, ["53100", "42501", "53300"])


@pytest.mark.long
@pytest.mark.timeout(600)
def test_every_error_that_is_not_about_the_data_is_waited_out(
    topics: str, database: str, publisher: Publisher, tmp_path: Path
) -> None:
    """All that was thought of, from a lost connection to an internal error."""
    wait_out(topics, database, publisher, tmp_path, OUTAGES)


@pytest.mark.long
def test_a_database_that_becomes_read_only_is_waited_out(
    topics: str, database: str, publisher: Publisher, tmp_path: Path
) -> None:
    """As after a failover to a standby: SQLSTATE 25006 until it can be written again."""
    name = database.rpartition("/")[2]
    with bench(topics, publisher, tmp_path, direct=database) as running:
        running.admin.execute(f"alter database {name} set default_transaction_read_only = on".encode())
        running.terminate_connections()
        wait_until(lambda: running.errors("25") > 0, seconds=20, what="25006")
        running.ledger.check()
        running.admin.execute(b"set default_transaction_read_only = off")
        running.admin.execute(f"alter database {name} set default_transaction_read_only = off".encode())
        running.terminate_connections()
        running.wait_progress()


def test_a_deadlock_is_an_ordinary_retry(topics: str, database: str, publisher: Publisher, tmp_path: Path) -> None:
    """The sink is the victim of one (40P01), does its flush again, and both transactions have their effect."""
    with Ledger(topics, database) as ledger, SinkProcess(topics, database, tmp_path) as sink:
        publisher.publish(map(as_record, [lead(1), lead(2), assigned(1), assigned(2)]))
        wait_until(lambda: ledger.progress() == 4, seconds=20, what="four records")
        with psycopg.connect(database) as other, psycopg.connect(database, autocommit=True) as watch:
            # So small a table is read as it lies, and rows are locked in that order.
            first, second = (row[0] for row in watch.execute("select call_job_id from leads_task_list order by ctid"))
            other.execute("set deadlock_timeout = '1min'")
            other.execute("update leads_task_list set extras = '{}' where call_job_id = %s", (second,))
            publisher.publish(map(as_record, [status(1, 1), status(2, 1)]))

            def waits() -> bool:
                asked = "select count(*) from pg_locks where not granted"
                return watch.execute(asked).fetchone() == (1,)

            wait_until(waits, seconds=20, what="the sink waits for the second row")
            other.execute("update leads_task_list set extras = '{}' where call_job_id = %s", (first,))
        assert ledger.finish(seconds=30) == 6
        assert sink.metric("callstream_database_errors_total", 'sqlstate_class="40"') == 1


@pytest.mark.long
def test_a_lock_that_somebody_holds_for_long_is_waited_out(
    topics: str, database: str, publisher: Publisher, tmp_path: Path
) -> None:
    """A table locked by a person for longer than the server lets a statement wait: 57014, and on when it is free."""
    with bench(topics, publisher, tmp_path, direct=database) as running:
        with psycopg.connect(database) as other:
            other.execute("lock table leads_task_list in exclusive mode")
            wait_until(lambda: running.errors("57") > 0, seconds=30, what="57014", interval=0.5)
            running.ledger.check()
        running.wait_progress()
