"""The programs that the documents show, run as they stand."""

import random
import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from confluent_kafka.admin import AdminClient

from devtools.processes import spawn, stop, wait_until
from runtime.kafka import Publisher, outgoing
from schemas.ids import CallJobId, EventId, ReferenceId, TaskId
from schemas.instants import from_milliseconds
from schemas.jobs import StatusChanged
from schemas.topics import STATUS_CHANGED
from tests.fixtures.topics import committed

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
STATUSES = ("Scheduling", "Executing", "Succeeded")


def _event(job: int, version: int) -> StatusChanged:
    return StatusChanged(
        event_id=EventId(f"event-{job}-{version}"),
        task_id=TaskId("task-1"),
        reference_id=ReferenceId(f"reference-{job}"),
        call_job_id=CallJobId(f"job-{job}"),
        version=version,
        observed_at=from_milliseconds(1_790_000_000_000 + version),
        call_status=STATUSES[version % 3],
        call_conversation=(),
        changed=("call_status",),
        is_terminal=version % 3 == 2,
    )


@pytest.mark.timeout(120)
def test_the_table_of_statuses_holds_the_newest_of_each_job(
    topics: str, publisher: Publisher, kafka_admin: AdminClient, tmp_path: Path
) -> None:
    """Repeats, events out of order and a SIGKILL in the middle leave the greatest version of each job."""
    events = [_event(job, version) for job in range(40) for version in range(1, 9)] * 2
    random.Random(3).shuffle(events)
    file = tmp_path / "statuses.duckdb"
    command = [sys.executable, str(EXAMPLES / "status_table.py"), topics, str(file)]

    def done() -> int:
        return committed(kafka_admin, "analytics-status-table", STATUS_CHANGED.name)

    publisher.publish([outgoing(STATUS_CHANGED, event, source="test") for event in events[:300]])
    first = spawn(command, stdout=subprocess.DEVNULL)
    wait_until(lambda: done() > 0, seconds=60, what="the first commit")
    first.send_signal(signal.SIGKILL)
    first.wait()
    publisher.publish([outgoing(STATUS_CHANGED, event, source="test") for event in events[300:]])
    second = spawn(command, stdout=subprocess.DEVNULL)
    wait_until(lambda: done() == len(events), seconds=60, what="all commits")
    stop(second)

    with duckdb.connect(str(file)) as database:
        rows = database.execute("select call_job_id, version, call_status from statuses").fetchall()
    assert sorted(rows) == sorted((f"job-{job}", 8, STATUSES[8 % 3]) for job in range(40))
