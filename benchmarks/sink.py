"""How many status events a second one sink writes, against what the database does by itself with the same rows.

Usage: python -m benchmarks.sink [--bootstrap HOST:PORT] [--events N] [--jobs N] [--rounds N] [--matrix | --backlog]

Each round runs, on the same server and one after the other: the sink, over N events of some 600 bytes in one topic with
four partitions; then the same newest rows as one UPDATE from a staging table, which is the most the server can do. The
ratio of the two in one round is the result; the absolute numbers are the machine's. The server is durable (fsync on).
What the sink has done is seen by its committed offsets; it commits them every tenth of a second here, not every second,
so that a run of some seconds can be timed.

`--matrix` does so for several batch sizes, fill factors and numbers of batches in hand, interleaved, and records
`sink_matrix`. `--backlog` samples the sink's memory while it works off the events, once, and records `sink_backlog`;
use it with a million of them.
"""

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import psutil
import psycopg
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from benchmarks.measuring import ROOT, broker, cpu_seconds, record
from devtools.postgres import EmbeddedPostgres
from devtools.processes import free_port, spawn, stop
from runtime.dead_letters import Origin
from runtime.topic_admin import ensure_topics, wanted_topics
from schemas.codec import encode
from schemas.ids import CallJobId, CallTaskId, EventId, ReferenceId, TaskId
from schemas.instants import from_milliseconds
from schemas.jobs import StatusChanged, Turn
from schemas.topics import STATUS_CHANGED
from sinks.batches import Record
from sinks.flusher import READY, WRITING
from sinks.loop import GROUP
from sinks.mapping import STATUSES
from sinks.migrate import migrate

PARTITIONS = 4
T0 = 1_790_000_000_000
SEED_ROWS = """
insert into leads_task_list (task_id, leads_id, leads_name, leads_phone, reference_id, call_job_id, call_status)
select 'task-' || n / 1000, 'lead-' || n, 'name ' || n, '138' || lpad(n::text, 8, '0'), 'reference-' || n,
    'job-' || lpad(n::text, 8, '0') || '-4f1c-9a37', 'Scheduling'
from generate_series(0, %s - 1) as n
"""
STAGE = """
create table staging as
select call_job_id, status_version + 1000000 as version, call_status, planed_time, call_task_id, call_conversation,
    calling_number, failure_reason, started_at, ended_at
from leads_task_list where status_version > 0
"""
SERVER_SIDE = """
update leads_task_list as t set call_status = e.call_status, planed_time = e.planed_time,
    call_task_id = e.call_task_id, call_conversation = e.call_conversation, calling_number = e.calling_number,
    failure_reason = e.failure_reason, started_at = e.started_at, ended_at = e.ended_at,
    status_version = e.version, updated_at = now()
from staging as e where t.call_job_id = e.call_job_id and t.call_job_id <> '' and t.status_version < e.version
"""


class Setup(NamedTuple):
    """Records per flush, fill factor of the table, batches written at a time, and batches ready behind them."""

    rows: int = 1000
    fillfactor: int = 60
    writing: int = WRITING
    ready: int = READY


DEFAULT = Setup()
MATRIX = [
    *(Setup(rows=rows) for rows in (100, 300, 1000, 3000, 10_000)),
    Setup(fillfactor=100),
    Setup(writing=1, ready=0),
    Setup(writing=1, ready=1),
]
ROLE = """
import sys
import sinks.flusher, runtime.progress
sinks.flusher.WRITING, sinks.flusher.READY = int(sys.argv[1]), int(sys.argv[2])
runtime.progress.COMMIT_SECONDS = 0.1
sys.argv[1:] = ["sink"]
from cli.role import main
sys.exit(main())
"""
Round = dict[str, float]


class Run(NamedTuple):
    """What was seen of one run: CPU in seconds, samples of its resident memory in MB."""

    seconds: float
    cpu: float
    memory: list[int]


def main() -> None:
    """Measure some rounds and keep the medians."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bootstrap")
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--jobs", type=int, default=25_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--matrix", action="store_true")
    parser.add_argument("--backlog", action="store_true")
    arguments = parser.parse_args()
    facts: dict[str, object] = {"events": arguments.events, "jobs": arguments.jobs}
    with broker(arguments.bootstrap) as bootstrap, EmbeddedPostgres(durable=True) as postgres:
        facts |= {"bytes_each": load(bootstrap, arguments.events, arguments.jobs), "bytes_sent_each": row_bytes()}
        if arguments.backlog:
            dsn = seeded(postgres, "backlog", arguments.jobs)
            run = run_sink(bootstrap, dsn, arguments.events)
            samples = run.memory[:: max(1, len(run.memory) // 40)]
            record("sink_backlog", facts | {"seconds": round(run.seconds, 1), "rss_mb": samples})
        elif arguments.matrix:
            cells: dict[Setup, list[Round]] = {setup: [] for setup in MATRIX}
            for _ in range(arguments.rounds):
                for setup, done in cells.items():
                    done.append(one_round(bootstrap, postgres, facts, setup))
            for setup, done in cells.items():
                record("sink_matrix", facts | setup._asdict() | medians(done))
        else:
            record("sink", facts | medians([one_round(bootstrap, postgres, facts) for _ in range(arguments.rounds)]))


def medians(rounds: list[Round]) -> dict[str, object]:
    """Return the rounds and the median of each number."""
    return {"rounds": rounds} | {name: round(statistics.median(r[name] for r in rounds), 2) for name in rounds[0]}


def row_bytes() -> int:
    """Return the mean size of an event as the statement's parameters have it."""
    rows = (Record.of(STATUSES, event_of(n, n), _no_origin).row for n in range(1000))
    return round(statistics.mean(sum(map(len, row)) for row in rows))


def _no_origin() -> Origin:
    raise AssertionError("nothing is parked here")


def load(bootstrap: str, events: int, jobs: int) -> int:
    """Put the events into Kafka; return their mean size."""
    ensure_topics(AdminClient({"bootstrap.servers": bootstrap}), wanted_topics(PARTITIONS))
    producer = Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2_random", "compression.type": "lz4"})
    chance, size = random.Random(1), 0
    for version in range(1, events + 1):
        event = event_of(chance.randrange(jobs), version)
        value = encode(event)
        size += len(value)
        producer.produce(STATUS_CHANGED.name, key=event.call_job_id, value=value)
        producer.poll(0)
    assert producer.flush(60) == 0
    return round(size / events)


def event_of(job: int, version: int) -> StatusChanged:
    """A snapshot of some 600 bytes."""
    at = from_milliseconds(T0 + version)
    return StatusChanged(
        event_id=EventId(f"{version:036d}"),
        task_id=TaskId(f"task-{job // 1000}"),
        reference_id=ReferenceId(f"reference-{job}"),
        call_job_id=CallJobId(f"job-{job:08d}-4f1c-9a37"),
        version=version,
        observed_at=at,
        call_status="Executing",
        call_conversation=(
            Turn(speaker="Robot", script=f"您好，我是客服，请问您现在方便接听电话吗 {version}", at=at),
            Turn(speaker="Contact", script="可以，你说吧", at=at),
        ),
        changed=("call_status",),
        is_terminal=False,
        planed_time=at,
        call_task_id=CallTaskId(f"call-{version:032d}"),
        calling_number="057126883106",
        started_at=at,
    )


def seeded(postgres: EmbeddedPostgres, name: str, jobs: int, fillfactor: int = 60) -> str:
    """Return the DSN of a new database with a row per job."""
    dsn = postgres.create_database(name)
    migrate(dsn)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"alter table leads_task_list set (fillfactor = {fillfactor:d})".encode())
        connection.execute(SEED_ROWS, (jobs,))
        connection.execute("vacuum analyze leads_task_list")
        connection.execute("checkpoint")
    return dsn


def one_round(bootstrap: str, postgres: EmbeddedPostgres, facts: dict[str, object], setup: Setup = DEFAULT) -> Round:
    """Run the sink on a new database, then let the server do the same rows alone."""
    events, jobs = int(str(facts["events"])), int(str(facts["jobs"]))
    dsn = seeded(postgres, "round", jobs, setup.fillfactor)
    run = run_sink(bootstrap, dsn, events, setup)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(STAGE)
        connection.execute("vacuum analyze leads_task_list")
        connection.execute("checkpoint")
        begin = time.monotonic()
        updated = connection.execute(SERVER_SIDE).rowcount
        alone = time.monotonic() - begin
        hot = connection.execute(
            "select n_tup_hot_upd::float / n_tup_upd from pg_stat_user_tables where relname = 'leads_task_list'"
        ).fetchone()
    postgres.drop_database("round")
    return {
        "events_per_second": round(events / run.seconds),
        "sink_cpu_us_each": round(run.cpu / events * 1e6, 2),
        "sink_rss_mb": max(run.memory),
        "server_side_rows_per_second": round(updated / alone),
        "ratio_to_server_side": round(events / run.seconds / (updated / alone), 3),
        "hot_share": round(hot[0], 3) if hot else 0.0,
        "load": round(os.getloadavg()[0], 1),
    }


def run_sink(bootstrap: str, dsn: str, events: int, setup: Setup = DEFAULT) -> Run:
    """Run the role's own process over the whole topic, and measure from the first committed offset to the last."""
    env = os.environ | {
        "CALLSTREAM_KAFKA_BOOTSTRAP_SERVERS": bootstrap,
        "CALLSTREAM_POSTGRES_DSN": dsn,
        "CALLSTREAM_SINK_BATCH_ROWS": str(setup.rows),
        "CALLSTREAM_HTTP_PORT": str(free_port()),
    }
    admin = AdminClient({"bootstrap.servers": bootstrap})
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": GROUP})
    places = [TopicPartition(STATUS_CHANGED.name, partition) for partition in range(PARTITIONS)]

    def done() -> int:
        return sum(max(0, place.offset) for place in consumer.committed(places, timeout=10))

    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "sink.log").open("wb") as log:
        command = [sys.executable, "-c", ROLE, str(setup.writing), str(setup.ready)]
        sink = spawn(command, stdout=log, cwd=ROOT, env=env)
        try:
            process = psutil.Process(sink.pid)
            while not (first := done()):
                assert sink.poll() is None, Path(log.name).read_text()
                time.sleep(0.01)
            begin, before, memory = time.monotonic(), cpu_seconds(process), [process.memory_info().rss >> 20]
            while done() < events:
                assert sink.poll() is None, Path(log.name).read_text()
                time.sleep(0.02)
                memory.append(process.memory_info().rss >> 20)
            share = events / (events - first)
            seconds, cpu = time.monotonic() - begin, cpu_seconds(process) - before
            return Run(seconds * share, cpu * share, memory)
        finally:
            stop(sink)
            consumer.close()
            admin.delete_consumer_groups([GROUP])[GROUP].result(30)


if __name__ == "__main__":
    main()
