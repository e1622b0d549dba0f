"""How the sink compares with the Debezium JDBC sink on Kafka Connect.

Usage: python -m benchmarks.debezium [--bootstrap HOST:PORT] [--events N] [--jobs N] [--rounds N]

The same status events, in the same order on the same partitions, go to the same table on the same durable server: by
the sink's own process, and by Debezium with each of the two settings that were its fastest. They take turns within a
round; the ratios of one round are the result. Every turn begins on a copy of one database and counts from the first
commit that another session can see to the last. After it every row is compared with the newest event of its job.

What is done so that Debezium can take part, and takes no harm: it cannot write nested JSON, and columns are named by
fields, so its topic carries each event with the conversation as text and the version under the column's name. Its
upsert proposes a row before it updates, so the columns that the events lack have defaults here; it cannot name a
partial index, so the index of job ids is a full one. The sink works on that same table. Its JVM is not started anew
for each turn, and has done two turns before the first counts. Its heap is half of what Connect's start script allows.
"""

import argparse
import itertools
import os
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import orjson
import psutil
import psycopg
from confluent_kafka.admin import AdminClient
from psycopg import Connection
from psycopg.rows import TupleRow, dict_row

from benchmarks.kafka_connect import HEAP, ConnectWorker
from benchmarks.measuring import ROOT, broker, cpu_seconds, record
from benchmarks.sink import PARTITIONS, SEED_ROWS, event_of
from devtools.postgres import EmbeddedPostgres
from devtools.processes import free_port, spawn, stop
from runtime.kafka import make_producer
from runtime.settings import KafkaSettings
from runtime.topic_admin import WantedTopic, ensure_topics, wanted_topics
from schemas.codec import encode
from schemas.jobs import StatusChanged, Turn
from schemas.topics import STATUS_CHANGED
from sinks.loop import GROUP
from sinks.migrate import migrate

SINK = "callstream"
TOPIC = "benchmark.status-changed.for-debezium"
TEMPLATE = "comparison"
TAIL = 100  # of so many last events, every partition's last is one
TURN_SECONDS = 120
WARMING_TURNS = 2  # of each JVM, not counted
FITTED = """
alter table leads_task_list alter task_id set default '', alter leads_id set default '',
    alter leads_name set default '', alter leads_phone set default '', alter reference_id set default '';
drop index leads_task_list_call_job;
create unique index leads_task_list_call_job on leads_task_list (call_job_id);
"""
PLAIN = ("call_status", "call_task_id", "calling_number", "failure_reason", "planed_time", "started_at", "ended_at")
SETTINGS = {
    "debezium rewrite 1000": {"batch.size": "1000", "dialect.postgres.unnest.insert.enabled": "false"},
    "debezium unnest 3000": {"batch.size": "3000", "dialect.postgres.unnest.insert.enabled": "true"},
}


def _field(name: str, *, kind: str = "string", meaning: str | None = None) -> dict[str, object]:
    return {"field": name, "type": kind, "optional": True} | ({"name": meaning, "version": 1} if meaning else {})


SCHEMA = {
    "type": "struct",
    "optional": False,
    "name": "status_changed",
    "fields": [
        _field("call_job_id") | {"optional": False},
        _field("status_version", kind="int64"),
        *(_field(name) for name in ("call_status", "call_task_id", "calling_number", "failure_reason")),
        *(
            _field(name, meaning="io.debezium.time.ZonedTimestamp")
            for name in ("planed_time", "started_at", "ended_at")
        ),
        _field("call_conversation", meaning="io.debezium.data.Json"),
    ],
}


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What is in the topics: each job's newest version, and the jobs of the last events."""

    events: int
    bytes_each: Mapping[str, int]
    newest: Mapping[int, int]
    tail: frozenset[int]


def main() -> None:
    """Measure some rounds and keep the medians."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bootstrap")
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--jobs", type=int, default=25_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with ExitStack() as stack:
        bootstrap = stack.enter_context(broker(arguments.bootstrap))
        postgres = stack.enter_context(EmbeddedPostgres(durable=True))
        workload = load(bootstrap, arguments.events, arguments.jobs)
        prepare(postgres, arguments.jobs)
        workers = {name: stack.enter_context(ConnectWorker(bootstrap)) for name in SETTINGS}
        contest = Contest(bootstrap, postgres, workload, workers)
        for name in [*SETTINGS] * WARMING_TURNS:
            contest.turn(name)
        rounds = [contest.round(number) for number in range(arguments.rounds)]
    result = {"events": arguments.events, "jobs": arguments.jobs, "bytes_each": workload.bytes_each}
    record("debezium", result | {"heap": " ".join(HEAP), "rounds": rounds} | summary(rounds))


def load(bootstrap: str, events: int, jobs: int) -> Workload:
    """Put every event into both topics."""
    wanted = WantedTopic(name=TOPIC, partitions=PARTITIONS, config=STATUS_CHANGED.config)
    ensure_topics(AdminClient({"bootstrap.servers": bootstrap}), [*wanted_topics(PARTITIONS), wanted])
    producer = make_producer(KafkaSettings(bootstrap_servers=bootstrap))  # idempotent: Debezium goes by the order alone
    chance, order, sizes = random.Random(1), list[int](), Counter[str]()
    for version in range(1, events + 1):
        order.append(chance.randrange(jobs))
        event = event_of(order[-1], version)
        value = encode(event)
        for topic, form in ((STATUS_CHANGED.name, value), (TOPIC, for_debezium(value))):
            sizes[topic] += len(form)
            producer.produce(topic, key=event.call_job_id, value=form)
        producer.poll(0)
    assert producer.flush(60) == 0
    return Workload(
        events=events,
        bytes_each={topic: size // events for topic, size in sizes.items()},
        newest={job: version for version, job in enumerate(order, 1)},
        tail=frozenset(order[-TAIL:]),
    )


def for_debezium(value: bytes) -> bytes:
    """Return an event as Debezium can write it."""
    fields = orjson.loads(value)
    fields["call_conversation"] = orjson.dumps(fields["call_conversation"]).decode()
    fields["status_version"] = fields.pop("version")
    return orjson.dumps(fields)


def prepare(postgres: EmbeddedPostgres, jobs: int) -> None:
    """Make the database of which every turn gets a copy."""
    dsn = postgres.create_database(TEMPLATE)
    migrate(dsn)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(FITTED)
        connection.execute(SEED_ROWS, (jobs,))
        connection.execute("vacuum analyze leads_task_list")


class Contest:
    """Turns of the contestants, on the same events and the same server."""

    def __init__(
        self, bootstrap: str, postgres: EmbeddedPostgres, workload: Workload, workers: Mapping[str, ConnectWorker]
    ) -> None:
        self._bootstrap = bootstrap
        self._postgres = postgres
        self._workload = workload
        self._workers = workers
        self._turns = 0

    def round(self, number: int) -> dict[str, dict[str, float]]:
        """Let each have its turn; who begins changes from round to round."""
        names = [SINK, *self._workers]
        first = number % len(names)
        return {name: self.turn(name) for name in names[first:] + names[:first]}

    def turn(self, name: str) -> dict[str, float]:
        """Let one write all events into a new copy of the database, and check what it wrote."""
        self._turns += 1
        database = f"turn_{self._turns}"
        dsn = self._postgres.create_database(database, TEMPLATE)
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("checkpoint")
            with self._sink(dsn) if name == SINK else self._debezium(name, database) as (process, check):
                result = self._watch(connection, process, check)
            wrong = self._wrong(connection)
        assert not wrong, f"{name}: {wrong} rows are not the newest events of their jobs"
        self._postgres.drop_database(database)
        print(name, result, flush=True)
        return result

    @contextmanager
    def _sink(self, dsn: str) -> Iterator[tuple[psutil.Process, Callable[[], None]]]:
        env = os.environ | {
            "CALLSTREAM_KAFKA_BOOTSTRAP_SERVERS": self._bootstrap,
            "CALLSTREAM_POSTGRES_DSN": dsn,
            "CALLSTREAM_HTTP_PORT": str(free_port()),
        }
        admin = AdminClient({"bootstrap.servers": self._bootstrap})
        with tempfile.TemporaryDirectory() as folder, (Path(folder) / "sink.log").open("wb") as log:
            sink = spawn([sys.executable, "-m", "cli.role", "sink"], stdout=log, cwd=ROOT, env=env)

            def check() -> None:
                assert sink.poll() is None, Path(log.name).read_text()

            try:
                yield psutil.Process(sink.pid), check
            finally:
                stop(sink)
                admin.delete_consumer_groups([GROUP])[GROUP].result(30)

    @contextmanager
    def _debezium(self, name: str, database: str) -> Iterator[tuple[psutil.Process, Callable[[], None]]]:
        batch = SETTINGS[name]["batch.size"]
        config = SETTINGS[name] | {
            "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector",
            "tasks.max": "1",
            "topics": TOPIC,
            "connection.url": f"jdbc:postgresql://127.0.0.1:{self._postgres.port}/{database}?reWriteBatchedInserts=true",
            "connection.username": "postgres",
            "connection.password": "none",
            "insert.mode": "upsert",
            "primary.key.mode": "record_value",
            "primary.key.fields": "call_job_id",
            "collection.name.format": "leads_task_list",
            "schema.evolution": "none",
            "use.reduction.buffer": "true",
            "value.converter": "org.apache.kafka.connect.json.JsonConverter",
            "value.converter.schemas.enable": "true",
            "value.converter.schema.content": orjson.dumps(SCHEMA).decode(),
            "consumer.override.group.id": database,
            "consumer.override.auto.offset.reset": "earliest",
            "consumer.override.max.poll.records": batch,
            "consumer.override.fetch.min.bytes": "100000",
            "consumer.override.max.partition.fetch.bytes": "4194304",
        }
        worker = self._workers[name]
        worker.run(database, config)
        try:
            yield psutil.Process(worker.pid), lambda: worker.check(database)
        finally:
            worker.remove(database)

    def _watch(
        self, connection: Connection[TupleRow], process: psutil.Process, check: Callable[[], None]
    ) -> dict[str, float]:
        """Measure from the first commit that is seen to the last."""
        server = psutil.Process(self._postgres.pid)
        tail = [event_of(job, 0).call_job_id for job in self._workload.tail]
        end = sum(self._workload.newest[job] for job in self._workload.tail)

        def ask(question: bytes, *parameters: object) -> int:
            row = connection.execute(question, parameters).fetchone()
            return int(row[0]) if row else 0

        first = _poll(check, lambda: ask(b"select count(*) from leads_task_list where status_version > 0"))
        begin, client, database = time.monotonic(), cpu_seconds(process), _tree_cpu(server)
        _poll(
            check,
            lambda: ask(b"select sum(status_version) from leads_task_list where call_job_id = any(%s)", tail) == end,
        )
        seconds = time.monotonic() - begin
        counted = self._workload.events - first
        return {
            "events_per_second": round(counted / seconds),
            "client_cpu_us_each": round((cpu_seconds(process) - client) / counted * 1e6, 2),
            "server_cpu_us_each": round((_tree_cpu(server) - database) / counted * 1e6, 2),
            "client_rss_mb": round(process.memory_info().rss / 2**20),
        }

    def _wrong(self, connection: Connection[TupleRow]) -> int:
        """Return how many rows are not what the newest event of their job says, or should not be written at all."""
        newest = {
            event.call_job_id: event for event in map(event_of, *zip(*self._workload.newest.items(), strict=True))
        }
        with connection.cursor(row_factory=dict_row) as cursor:
            rows = cursor.execute("select * from leads_task_list where status_version > 0").fetchall()
        right = sum(_shows(row, newest[row["call_job_id"]]) for row in rows)
        return max(len(rows), len(newest)) - right


def _shows(row: Mapping[str, object], event: StatusChanged) -> bool:
    conversation = msgspec.convert(row["call_conversation"], tuple[Turn, ...])
    return (
        row["status_version"] == event.version
        and conversation == event.call_conversation
        and all(row[name] == getattr(event, name) for name in PLAIN)
    )


def _poll(check: Callable[[], None], question: Callable[[], int]) -> int:
    """Ask until the answer is not zero, and return it; `check` raises where that will never be."""
    deadline = time.monotonic() + TURN_SECONDS
    for number in itertools.count():
        if answer := question():
            return answer
        if number % 50 == 0:
            check()
        assert time.monotonic() < deadline, "a turn takes too long"
        time.sleep(0.02)
    return 0


def _tree_cpu(process: psutil.Process) -> float:
    """Return the CPU that a process and its children have used so far, ended ones included."""
    times = process.cpu_times()
    return sum(
        map(cpu_seconds, process.children()), times.user + times.system + times.children_user + times.children_system
    )


def summary(rounds: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, object]:
    """Return medians, and the sink's part of each of Debezium's in the same round."""
    medians = {
        name: {measure: statistics.median(r[name][measure] for r in rounds) for measure in rounds[0][name]}
        for name in rounds[0]
    }
    ratios = {
        name: {
            measure: statistics.median(r[SINK][measure] / r[name][measure] for r in rounds)
            for measure in rounds[0][name]
        }
        for name in SETTINGS
    }
    return {"medians": medians, "ratios": {n: {m: round(x, 3) for m, x in r.items()} for n, r in ratios.items()}}


if __name__ == "__main__":
    main()
