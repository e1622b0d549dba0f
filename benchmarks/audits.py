"""What a round of the audits costs a table of a million rows, against the scan of the whole that it replaces.

python -m benchmarks.audits [--rows N]

Ended jobs with conversations of some 500 bytes, in tasks of 1,000; one row in 10,000 lacks its follow-up. The server
explains each statement with `analyze, buffers`, five times after a first; the median counts.
"""

import argparse
import statistics
from typing import Any

import psycopg

from benchmarks.measuring import record
from devtools.postgres import EmbeddedPostgres
from producers.audits import ANALYSIS_AGE, FOLLOW_UP_AGE, MOST_ASKED, RECORDING_LAP, RECORDING_PATIENCE, Walk
from producers.expander import FINISHED
from runtime.postgres import Database
from runtime.sql import statement
from schemas.jobs import ENDED_STATUSES
from sinks.migrate import migrate

ROWS = """
insert into leads_task_list (task_id, leads_id, leads_name, leads_phone, reference_id, call_job_id, call_status,
    call_task_id, call_conversation, leads_follow_id, settled_at, recording_url)
select 'task-' || n / 1000, 'lead-' || n, 'name', '138', 'reference-' || n, 'job-' || n, 'Succeeded', 'call-' || n,
    jsonb_build_array(jsonb_build_object('speaker', 'Robot', 'script', repeat('x', 500))),
    case when n %% 10000 > 0 then 'follow-' || n end, now() - interval '1 hour', 'https://oss/' || n
from generate_series(1, %s) n
"""
FOLLOW_UPS = """
insert into leads_follow
    (leads_follow_id, leads_id, task_id, call_job_id, summary, is_interested, analyzer, follow_time)
select leads_follow_id, leads_id, task_id, call_job_id, '', 0, 'rules', now() from leads_task_list
where leads_follow_id is not null
"""
TASKS = "insert into call_tasks (task_id, poll_due_at) select distinct task_id, now() from leads_task_list"


def main() -> None:
    """Fill, explain, keep the medians."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with EmbeddedPostgres() as postgres:
        dsn = postgres.create_database("audits")
        migrate(dsn)
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(ROWS, (arguments.rows,))
            connection.execute(FOLLOW_UPS)
            connection.execute(TASKS)
            connection.execute("vacuum analyze")
            pool = Database(dsn, name="benchmark")
            pool.open()
            piece = Walk(pool, "benchmark", RECORDING_LAP).take()
            pool.close()
            assert piece is not None
            result: dict[str, object] = {"rows": arguments.rows, "piece_ids": piece.upto - piece.after}
            for kind, after, upto in (("piece", piece.after, piece.upto), ("whole", 0, arguments.rows)):
                for name, parameters in statements(after, upto).items():
                    result[f"{name}_{kind}"] = explain(connection, name, parameters)
    record("audits", result)


def statements(after: int, upto: int) -> dict[str, dict[str, Any]]:
    """Return the audits' statements with what they are given."""
    bounds = {"after": after, "upto": upto, "limit": MOST_ASKED}
    return {
        "audit_open": bounds | {"ended": sorted(ENDED_STATUSES), "within": RECORDING_LAP},
        "audit_unfollowed": bounds
        | {"statuses": list(FINISHED), "age": FOLLOW_UP_AGE, "again": ANALYSIS_AGE, "waiting": []},
        "audit_unrecorded": bounds | {"lap": RECORDING_LAP, "patience": RECORDING_PATIENCE},
    }


def explain(connection: psycopg.Connection[Any], name: str, parameters: dict[str, Any]) -> dict[str, object]:
    """Return milliseconds, buffers, and the plan's nodes on the large table."""
    plans = []
    for _ in range(6):
        query = b"explain (analyze, buffers, format json) " + statement("producers", name)
        ((document,),) = connection.execute(query, parameters).fetchall()
        plans.append(document[0])
    plan = plans[-1]["Plan"]
    return {
        "ms": round(statistics.median(one["Execution Time"] for one in plans[1:]), 2),
        "buffers": plan["Shared Hit Blocks"] + plan["Shared Read Blocks"],
        "scans": sorted(set(scans(plan))),
    }


def scans(plan: dict[str, Any]) -> list[str]:
    """Return how the plan reads `leads_task_list`."""
    own = [f"{plan['Node Type']} {plan.get('Index Name', '')}".strip()] if plan.get("Relation Name") == TABLE else []
    return own + [scan for inner in plan.get("Plans", ()) for scan in scans(inner)]


TABLE = "leads_task_list"


if __name__ == "__main__":
    main()
