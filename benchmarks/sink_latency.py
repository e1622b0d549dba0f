"""From an event in its topic to its committed row, at a steady rate.

Usage: python -m benchmarks.sink_latency [--bootstrap HOST:PORT] [--rate N] [--seconds N]

Each event changes a row of its own. Its beginning is the broker's append time (LogAppendTime, whole milliseconds), its
end the commit time that PostgreSQL keeps of the row's transaction (track_commit_timestamp). Both are clocks of this one
machine, and nothing polls. The first two seconds, in which the sink joins its group, are left out.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psycopg
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from benchmarks.measuring import ROOT, broker, record
from benchmarks.sink import PARTITIONS, event_of, seeded
from devtools.postgres import EmbeddedPostgres
from devtools.processes import free_port, spawn, stop, wait_until
from runtime.topic_admin import ensure_topics, wanted_topics
from schemas.codec import encode
from schemas.topics import STATUS_CHANGED

TICK_SECONDS = 0.01
WARM_UP_SECONDS = 2
COMMITTED = """
select call_job_id, extract(epoch from pg_xact_commit_timestamp(xmin)) * 1000 from leads_task_list
where status_version > 0
"""


def main() -> None:
    """Measure once."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bootstrap")
    parser.add_argument("--rate", type=int, default=2000)
    parser.add_argument("--seconds", type=int, default=20)
    arguments = parser.parse_args()
    jobs = arguments.rate * arguments.seconds
    server = EmbeddedPostgres(durable=True, extra={"track_commit_timestamp": "on"})
    with broker(arguments.bootstrap) as bootstrap, server as postgres:
        ensure_topics(AdminClient({"bootstrap.servers": bootstrap}), wanted_topics(PARTITIONS))
        dsn = seeded(postgres, "latency", jobs)
        env = os.environ | {
            "CALLSTREAM_KAFKA_BOOTSTRAP_SERVERS": bootstrap,
            "CALLSTREAM_POSTGRES_DSN": dsn,
            "CALLSTREAM_HTTP_PORT": str(free_port()),
        }
        with tempfile.TemporaryDirectory() as folder, (Path(folder) / "sink.log").open("wb") as log:
            sink = spawn([sys.executable, "-m", "cli.role", "sink"], stdout=log, cwd=ROOT, env=env)
            try:
                wait_until(
                    lambda: b"subscription.assigned" in Path(log.name).read_bytes(), seconds=30, what="an assignment"
                )
                send(bootstrap, jobs, arguments.rate)
                wait_until(lambda: len(committed(dsn)) == jobs, seconds=60, what="all rows")
            finally:
                stop(sink)
        ended, appended = committed(dsn), appends(bootstrap, jobs)
    first = min(appended.values()) + WARM_UP_SECONDS * 1000
    delays = sorted(ended[job] - at for job, at in appended.items() if at >= first)
    cuts = statistics.quantiles(delays, n=100)
    record(
        "sink_latency",
        {
            "rate": arguments.rate,
            "events": len(delays),
            "p50_ms": round(cuts[49]),
            "p99_ms": round(cuts[98]),
            "max_ms": round(delays[-1]),
            "load": round(os.getloadavg()[0], 1),
        },
    )


def send(bootstrap: str, jobs: int, rate: int) -> None:
    """Produce one event per job, evenly, a few every tick."""
    producer = Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2_random", "linger.ms": 2})
    began, sent = time.monotonic(), 0
    while sent < jobs:
        due = min(jobs, int((time.monotonic() - began) * rate))
        for job in range(sent, due):
            event = event_of(job, job + 1)
            producer.produce(STATUS_CHANGED.name, key=event.call_job_id, value=encode(event))
        sent = due
        producer.poll(TICK_SECONDS)
    assert producer.flush(60) == 0


def committed(dsn: str) -> dict[str, float]:
    """Return when each row was committed, in milliseconds since the epoch."""
    with psycopg.connect(dsn) as connection:
        return {job: float(at) for job, at in connection.execute(COMMITTED)}


def appends(bootstrap: str, count: int) -> dict[str, int]:
    """Return when the broker appended each event, in milliseconds since the epoch."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "bench", "enable.auto.commit": False})
    consumer.assign([TopicPartition(STATUS_CHANGED.name, partition, 0) for partition in range(PARTITIONS)])
    found: dict[str, int] = {}
    while len(found) < count:
        for message in consumer.consume(1000, 1.0):
            key = message.key()
            assert isinstance(key, bytes)
            found[key.decode()] = message.timestamp()[1]
    consumer.close()
    return found


if __name__ == "__main__":
    main()
