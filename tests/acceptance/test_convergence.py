"""Whatever is damaged, lost or deleted, the table equals the cloud again: by itself, or by a repair."""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import psycopg
import pytest
from confluent_kafka.admin import AdminClient

from cli.topics import all_topics
from devtools.audit import differences, read_rows
from devtools.performance import Performance
from devtools.processes import wait_until
from devtools.stage import Roles, Stage
from runtime.clock import SystemClock
from runtime.settings import Settings
from runtime.topic_admin import ensure_topics
from streams.changelogs import PAGES
from tests.acceptance.test_whole_path import finish, kill, performing

REASSERT, POLL_MAX = 2, 3
SETTINGS = {"CALLSTREAM_REASSERT_SECONDS": str(REASSERT), "CALLSTREAM_POLL_MAX_SECONDS": str(POLL_MAX)}
# A row opened by hand is found within twice POLL_MAX, its event is sent again within REASSERT; the rest is the way.
HEALED_SECONDS = 2 * POLL_MAX + REASSERT + 12

DAMAGE = (
    "call_status = 'Executing', calling_number = 'damaged'",
    "call_status = null, settled_at = null, ended_at = null",
    "call_status = 'Executing', status_version = status_version - 100000, call_conversation = '[]'",
    "call_status = 'Scheduling', status_version = status_version + 100000, call_task_id = 'damaged'",
    "call_status = null, status_version = 0, planed_time = null, call_task_id = null, call_conversation = null",
)
"""Changes that a page shows: of the status, of the version, or back to what it was before an event (that was lost)."""

UNSEEN_DAMAGE = (
    "calling_number = 'damaged'",
    "call_conversation = '[]', failure_reason = 'damaged'",
    "planed_time = null, started_at = null, ended_at = null, call_task_id = 'damaged'",
    "is_interested = null, leads_follow_id = 'damaged'",
    "call_job_id = ''",
)
"""Changes that leave version and status as they were."""


def execute(stage: Stage, statement: str, *parameters: object) -> int:
    """Change the database as a hand does; return how many rows."""
    with psycopg.connect(stage.dsn) as connection:
        return connection.execute(statement.encode(), parameters).rowcount


def damage(stage: Stage, changes: Sequence[str]) -> None:
    """Change two ended rows in each way, one of each task."""
    with psycopg.connect(stage.dsn) as connection:
        found = connection.execute(
            "select array_agg(id order by id) from leads_task_list where leads_follow_id is not null group by task_id"
        ).fetchall()
    for (ids,) in found:
        for change, row in zip(changes, ids, strict=False):
            assert execute(stage, f"update leads_task_list set {change} where id = %s", row) == 1  # noqa: S608 - ours


def follow_ups(stage: Stage) -> list[tuple[object, ...]]:
    """Return what every row and its record say of the follow-up."""
    with psycopg.connect(stage.dsn) as connection:
        return connection.execute(
            """
            select l.reference_id, l.leads_follow_id, l.is_interested, f.leads_follow_id, f.leads_id, f.task_id,
                f.call_job_id, f.summary, f.is_interested, f.analyzer
            from leads_task_list as l left join leads_follow as f on f.call_job_id = l.call_job_id
            order by l.reference_id
            """
        ).fetchall()


def problems(stage: Stage) -> list[str]:
    """Return where the table is not what the cloud says."""
    return differences(read_rows(stage.dsn), stage.cloud.truth())


def await_healed(stage: Stage, seconds: float, is_healed: Callable[[], bool] = lambda: True) -> float:
    """Return after how many seconds the table equalled the cloud again."""
    begin = time.monotonic()
    try:
        wait_until(
            lambda: not problems(stage) and is_healed(), seconds=seconds, what="equal to the cloud", interval=0.2
        )
    except TimeoutError:
        pytest.fail(f"not equal to the cloud: {problems(stage)}")
    return time.monotonic() - begin


def empty_a_job_id(stage: Stage, performance: Performance) -> None:
    """Take the job id from an ended row of each task while calls go on."""
    for moment in performance.watch(clock=SystemClock(), seconds=60):
        if all(task.ended and task.ended < task.leads for task in moment.progress) and moment.progress:
            break
    emptied = execute(
        stage,
        """
        update leads_task_list set call_job_id = '' where id in (
            select min(id) from leads_task_list where settled_at is not null group by task_id
        )
        """,
    )
    assert emptied == 2


def lose_the_table(stage: Stage, roles: Roles) -> None:
    """Delete the changelog and make it anew, with its worker dead in between."""
    admin = AdminClient({"bootstrap.servers": stage.bootstrap_servers})
    admin.delete_topics([PAGES.name])[PAGES.name].result(30)
    kill(roles, "changes")
    wait_until(lambda: PAGES.name not in admin.list_topics(timeout=10).topics, seconds=30, what="deleted", interval=0.2)
    ensure_topics(admin, all_topics(Settings.load()))


def repair(roles: Roles, task_id: str) -> None:
    """Ask for a repair as an operator does."""
    command = [sys.executable, "-m", "cli.main", "task", "query", task_id, "--repair"]
    subprocess.run(command, env=roles.environment, check=True, capture_output=True)


@pytest.mark.timeout(300)
def test_whatever_is_damaged_equals_the_cloud_again(
    whole_topics: str, record_property: Callable[[str, object], None]
) -> None:
    """Rows by hand, lost events, job ids, the whole table of the worker, records of follow-ups; nobody called twice."""
    with performing(whole_topics, leads=60, spread=8, settings=SETTINGS) as (stage, performance, roles):
        empty_a_job_id(stage, performance)
        assert finish(performance, seconds=90).problems == []

        damage(stage, DAMAGE)
        assert problems(stage)
        record_property("rows_seconds", await_healed(stage, HEALED_SECONDS))

        lose_the_table(stage, roles)
        damage(stage, DAMAGE)
        assert problems(stage)
        record_property("table_seconds", await_healed(stage, HEALED_SECONDS + 15))

        before = follow_ups(stage)
        damage(stage, UNSEEN_DAMAGE)
        assert execute(
            stage, "delete from leads_follow where call_job_id in (select max(call_job_id) from leads_follow)"
        )
        assert problems(stage)
        assert follow_ups(stage) != before
        for task_id in {row.task_id for row in read_rows(stage.dsn)}:
            repair(roles, task_id)
        record_property("repair_seconds", await_healed(stage, 40, lambda: follow_ups(stage) == before))
        assert stage.cloud.duplicates() == []
