"""How many status events a second one sink writes, against what the database does by itself with the same rows.

Usage: python -m benchmarks.sink [--bootstrap HOST:PORT] [--events N] [--jobs N] [--rounds N]

Each round runs, on the same server and one after the other: the sink, over N events of some 600 bytes in one topic with
four partitions; then the same newest rows as one UPDATE from a staging table, which is the most the server can do. The
ratio of the two in one round is the result; the absolute numbers are the machine's. The server is durable (fsync on).
"""

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil
import psycopg
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from benchmarks.measuring import ROOT, broker, cpu_seconds, record
from devtools.postgres import EmbeddedPostgres
from devtools.processes import free_port, spawn, stop
from runtime.topic_admin import ensure_topics, wanted_topics
from schemas.codec import encode
from schemas.ids import CallJobId, CallTaskId, EventId, ReferenceId, TaskId
from schemas.instants import from_milliseconds
from schemas.jobs import StatusChanged, Turn
from schemas.topics import STATUS_CHANGED
from sinks.loop import GROUP
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


def main() -> None:
    """Measure some rounds and keep the medians."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bootstrap")
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--jobs", type=int, default=25_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with broker(arguments.bootstrap) as bootstrap, EmbeddedPostgres(durable=True) as postgres:
        size = load(bootstrap, arguments.events, arguments.jobs)
        rounds = [one_round(bootstrap, postgres, n, arguments) for n in range(arguments.rounds)]
    medians = {name: round(statistics.median(r[name] for r in rounds), 2) for name in rounds[0]}
    record("sink", {"events": arguments.events, "jobs": arguments.jobs, "bytes_each": size, "rounds": rounds} | medians)


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


def one_round(
    bootstrap: str, postgres: EmbeddedPostgres, number: int, arguments: argparse.Namespace
) -> dict[str, float]:
    """Run the sink on a new database, then let the server do the same rows alone."""
    dsn = postgres.create_database(f"round_{number}")
    migrate(dsn)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(SEED_ROWS, (arguments.jobs,))
        connection.execute("vacuum analyze leads_task_list")
        connection.execute("checkpoint")
        seconds, cpu, memory = run_sink(bootstrap, dsn, arguments.events)
        connection.execute(STAGE)
        connection.execute("vacuum analyze leads_task_list")
        connection.execute("checkpoint")
        begin = time.monotonic()
        rows = connection.execute(SERVER_SIDE).rowcount
        alone = time.monotonic() - begin
        hot = connection.execute(
            "select n_tup_hot_upd::float / n_tup_upd from pg_stat_user_tables where relname = 'leads_task_list'"
        ).fetchone()
    return {
        "events_per_second": round(arguments.events / seconds),
        "sink_cpu_us_each": round(cpu / arguments.events * 1e6, 2),
        "sink_rss_mb": round(memory / 2**20),
        "server_side_rows_per_second": round(rows / alone),
        "ratio_to_server_side": round(arguments.events / seconds / (rows / alone), 3),
        "hot_share": round(hot[0], 3) if hot else 0.0,
    }


def run_sink(bootstrap: str, dsn: str, events: int) -> tuple[float, float, int]:
    """Run the role's own process over the whole topic; seconds and CPU from the first commit to the last."""
    env = os.environ | {
        "CALLSTREAM_KAFKA_BOOTSTRAP_SERVERS": bootstrap,
        "CALLSTREAM_POSTGRES_DSN": dsn,
        "CALLSTREAM_HTTP_PORT": str(free_port()),
    }
    admin = AdminClient({"bootstrap.servers": bootstrap})
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": GROUP})
    places = [TopicPartition(STATUS_CHANGED.name, partition) for partition in range(PARTITIONS)]

    def done() -> int:
        return sum(max(0, place.offset) for place in consumer.committed(places, timeout=10))

    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "sink.log").open("wb") as log:
        sink = spawn([sys.executable, "-m", "cli.role", "sink"], stdout=log, cwd=ROOT, env=env)
        try:
            process = psutil.Process(sink.pid)
            while not (first := done()):
                assert sink.poll() is None, Path(log.name).read_text()
                time.sleep(0.01)
            begin, before = time.monotonic(), cpu_seconds(process)
            while done() < events:
                assert sink.poll() is None, Path(log.name).read_text()
                time.sleep(0.02)
            share = events / (events - first)
            seconds, cpu = time.monotonic() - begin, cpu_seconds(process) - before
            return seconds * share, cpu * share, process.memory_info().rss
        finally:
            stop(sink)
            consumer.close()
            admin.delete_consumer_groups([GROUP])[GROUP].result(30)


if __name__ == "__main__":
    main()
