"""`callstream lead`: persons leave the database as a whole, and nobody leaves it in the middle of a call."""

import os
import subprocess
import sys

import psycopg
import pytest

LEADS = """
insert into leads_task_list (task_id, leads_id, leads_name, leads_phone, reference_id, call_job_id, call_status,
    leads_follow_id, assign_marked_at)
select t, l, 'Somebody', '13800000000', t || l, case when s is null then '' else 'job-' || t || l end, s,
    'follow-' || t || l, m
from (values
    ('old', 'a', 'Succeeded', now()), ('old', 'b', 'Failed', now()), ('new', 'a', 'Succeeded', now()),
    ('new', 'c', 'Executing', now()), ('new', 'd', null, now()), ('new', 'e', null, null)
) as v (t, l, s, m)
"""
FOLLOW = """
insert into leads_follow
    (leads_follow_id, leads_id, task_id, call_job_id, summary, is_interested, analyzer, follow_time)
select leads_follow_id, leads_id, task_id, call_job_id, 'a summary', 1, 'rules', now()
from leads_task_list where call_status = 'Succeeded'
"""
PARKED = """
insert into parked_records (kind, key, version, topic, partition, "offset", record_value, record_headers, expires_at)
values ('status', 'job-olda', 1, 't', 0, 0, '', '', now()), ('assigned', 'newa', 1, 't', 0, 0, '', '', now()),
    ('status', 'job-other', 1, 't', 0, 0, '', '', now())
"""
TASKS = "insert into call_tasks (task_id, state) values ('old', 'done'), ('new', 'calling')"


@pytest.fixture
def filled(database: str) -> str:
    """Six leads in two tasks, with follow-ups and parked records."""
    with psycopg.connect(database) as connection:
        for sql in (LEADS, FOLLOW, PARKED, TASKS):
            connection.execute(sql)
    return database


def run(dsn: str, *words: str) -> tuple[int, str]:
    """Run `callstream lead WORDS` and return its status and all that it said."""
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "lead", *words],
        env=os.environ | {"CALLSTREAM_POSTGRES_DSN": dsn}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def left(dsn: str) -> dict[str, list[str]]:
    """What is still there: references of rows, jobs of follow-ups, keys of parked records."""
    questions = {
        "rows": "select reference_id from leads_task_list order by 1",
        "follow-ups": "select call_job_id from leads_follow order by 1",
        "parked": "select key from parked_records order by 1",
    }
    with psycopg.connect(dsn) as connection:
        return {name: [row[0] for row in connection.execute(sql)] for name, sql in questions.items()}


def test_a_lead_is_forgotten_in_every_task(filled: str) -> None:
    """Rows, follow-ups and parked records go; what Kafka may still hold is named; no name is said."""
    before = left(filled)
    status, said = run(filled, "forget", "a", "--dry-run")
    assert (status, left(filled)) == (0, before)
    assert "would delete 2 rows" in said
    status, said = run(filled, "forget", "a")
    assert status == 0
    assert "deleted 2 follow-ups, 2 parked records, 2 rows" in said
    assert left(filled) == {"rows": ["newc", "newd", "newe", "oldb"], "follow-ups": [], "parked": ["job-other"]}
    assert "crm.lead.added.v1.dlq" in said
    assert "14 days" in said
    assert "job-olda" in said
    assert "Somebody" not in said
    assert run(filled, "forget", "a")[0] == 1


@pytest.mark.parametrize("lead", ["c", "d"])
def test_nobody_is_forgotten_in_the_middle_of_a_call(filled: str, lead: str) -> None:
    """Neither who is called nor who may be on the way to the cloud; the sentence says what to do."""
    before = left(filled)
    status, said = run(filled, "forget", lead)
    assert (status, left(filled)) == (1, before)
    assert "in task new: cancel the task, or wait" in said


def test_somebody_who_waits_can_be_forgotten(filled: str) -> None:
    """Nobody has been told to call them yet."""
    assert run(filled, "forget", "e")[0] == 0
    assert "newe" not in left(filled)["rows"]


def test_what_ended_long_ago_is_purged(filled: str) -> None:
    """Only tasks that are over, and only after their days."""
    assert "0 tasks" in run(filled, "purge", "--ended-days", "2")[1]
    with psycopg.connect(filled) as connection:
        connection.execute("update leads_task_list set updated_at = now() - interval '3 days'")
        connection.execute("update call_tasks set updated_at = now() - interval '3 days'")
    status, said = run(filled, "purge", "--ended-days", "2", "--dry-run")
    assert (status, len(left(filled)["rows"])) == (0, 6)
    assert "1 tasks" in said
    assert run(filled, "purge", "--ended-days", "2")[0] == 0
    assert left(filled) == {
        "rows": ["newa", "newc", "newd", "newe"], "follow-ups": ["job-newa"], "parked": ["job-other", "newa"]
    }  # fmt: skip
