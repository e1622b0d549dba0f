"""Keeps the newest status of every call job in a DuckDB table.

Usage: python status_table.py BOOTSTRAP_SERVERS DATABASE_FILE
"""

import json
import sys

import duckdb
from confluent_kafka import Consumer

CREATE = """create table if not exists statuses (
    call_job_id text primary key, task_id text, call_status text, ended_at timestamptz, version bigint)"""
UPSERT = """insert into statuses values (?, ?, ?, ?, ?) on conflict (call_job_id) do update set
    call_status = excluded.call_status, ended_at = excluded.ended_at, version = excluded.version
    where excluded.version > statuses.version"""  # at least once and out of order: the greatest version is the newest

bootstrap, file = sys.argv[1:]
settings = {
    "bootstrap.servers": bootstrap,
    "group.id": "analytics-status-table",
    "auto.offset.reset": "earliest",
    "enable.auto.commit": False,
    "session.timeout.ms": 10_000,
}
consumer = Consumer(settings)
consumer.subscribe(["outbound.call-job.status-changed.v1"])
while True:
    events = [json.loads(message.value()) for message in consumer.consume(500, timeout=1.0) if not message.error()]
    if events:
        rows = [[e["call_job_id"], e["task_id"], e["call_status"], e.get("ended_at"), e["version"]] for e in events]
        with duckdb.connect(file) as database:
            database.begin()
            database.execute(CREATE)
            database.executemany(UPSERT, rows)
            database.commit()
        consumer.commit(asynchronous=False)  # after the table has it: a crash in between repeats, which is harmless
