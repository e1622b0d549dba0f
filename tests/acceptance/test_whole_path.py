"""The main job on real parts: leads become rows that equal the cloud, whatever process dies on the way."""

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest

from cli.groups import GROUPS
from devtools.cloud.process import CloudSimulator
from devtools.performance import Performance, Summary
from devtools.processes import wait_until
from devtools.stage import Roles, Stage
from runtime.clock import SystemClock
from sinks.migrate import migrate

ROLES = ("poll", "start", "stream", "record", "sink", "monitor")
# The others are killed by chaos in each run of the suite, and here in the long form.
PROCESSES = [
    "start",
    "sink",
    *(pytest.param(name, marks=pytest.mark.long) for name in ("poll", "changes", "followups", "record")),
]


@contextmanager
def performing(
    kafka: str, *, leads: int, spread: float, recordings: bool = False, settings: Mapping[str, str] | None = None
) -> Iterator[tuple[Stage, Performance, Roles]]:
    """A stage on the run's broker with every role running and the leads on their way."""
    wanted = {**(settings or {}), "CALLSTREAM_RECORDINGS_ENABLED": str(recordings).lower()}
    cloud = CloudSimulator(spread_seconds=spread)
    with Stage(kafka=kafka, cloud=cloud, settings=wanted) as stage:
        migrate(stage.dsn)
        groups = {group: topics for group, topics in GROUPS.items() if recordings or group != "callstream-record"}
        performance = Performance(stage, lead_count=leads, task_count=2, seed=int(cloud.port), groups=groups)
        try:
            with stage.run(ROLES, os.environ) as roles:
                performance.begin()
                yield stage, performance, roles
        finally:
            performance.close()


def finish(performance: Performance, *, seconds: float) -> Summary:
    """Wait until all is over, and judge."""
    clock = SystemClock()
    begin = clock.monotonic()
    for _ in performance.watch(clock=clock, seconds=seconds):
        pass
    return performance.judge(duration_seconds=clock.monotonic() - begin)


def has_every_recording(stage: Stage) -> bool:
    """Whether exactly the answered calls have the URL of a recording."""
    with psycopg.connect(stage.dsn) as connection:
        row = connection.execute(
            "select bool_and((recording_url is not null) = (call_status = 'Succeeded')) from leads_task_list"
        ).fetchone()
    return row == (True,)


def said(stage: Stage) -> set[str]:
    """Everything that anybody said in a call."""
    with psycopg.connect(stage.dsn) as connection:
        rows = connection.execute(
            "select distinct turn ->> 'script' from leads_task_list, jsonb_array_elements(call_conversation) as turn"
        )
        return {row[0] for row in rows}


def kill(roles: Roles, process: str) -> None:
    """Kill one role's process as a machine that dies would."""
    assert roles.pid is not None
    supervisor = psutil.Process(roles.pid)

    def victims() -> list[psutil.Process]:
        """It, unless it is being started just now."""
        return [child for child in supervisor.children() if process in child.cmdline()]

    wait_until(lambda: len(victims()) == 1, seconds=20, what=f"a process {process}")
    victims()[0].send_signal(signal.SIGKILL)


def test_a_thousand_leads_become_rows_that_equal_the_cloud(whole_topics: str) -> None:
    """Through real Kafka, PostgreSQL and SDK; statements counted by the server; recordings on."""
    with performing(whole_topics, leads=1000, spread=8, recordings=True) as (stage, performance, roles):
        summary = finish(performance, seconds=150)
        calls = stage.cloud.calls()
        assert has_every_recording(stage)
        log = roles.log.read_text()
        private = {text for lead in performance.leads for text in (lead.leads_phone, lead.leads_name)} | said(stage)
        assert len(private) > 1000
        assert [text for text in private if text in log] == [], "numbers, names and conversations are in no log"
    assert summary.problems == []
    assert all(summary.checks.values()), summary.checks
    assert summary.leads == 1000
    assert summary.statements["insert_leads"] <= 4
    assert summary.statements["set_job_ids"] <= 10
    assert calls["max_ids"]["ListJobs"] <= 99
    assert calls["max_ids"]["AssignJobs"] <= 25


@pytest.mark.parametrize("process", PROCESSES)
def test_killing_any_role_in_the_middle_ends_with_the_same_rows(whole_topics: str, process: str) -> None:
    """SIGKILL while calls run; `run` starts it again, and nothing is lost, doubled or left."""
    recordings = process == "record"
    with performing(whole_topics, leads=120, spread=6, recordings=recordings) as (stage, performance, roles):
        clock = SystemClock()
        for count, moment in enumerate(performance.watch(clock=clock, seconds=60)):
            ended = sum(task.ended for task in moment.progress)
            assigned = sum(task.assigned for task in moment.progress)
            if (process == "start" and count and assigned < 120) or (assigned and ended < 120):
                kill(roles, process)
                break
        else:
            pytest.fail("the calls were over before anybody was killed")
        summary = finish(performance, seconds=90)
        assert not recordings or has_every_recording(stage)
    assert summary.problems == []
    assert all(summary.checks.values()), summary.checks


def test_an_interrupted_demo_leaves_nothing_behind() -> None:
    """Ctrl-C in the middle: no process and no folder."""
    # Not below pytest's own folder, which is closed to the account that PostgreSQL runs as.
    with tempfile.TemporaryDirectory(prefix="callstream-demo-") as folder, tempfile.TemporaryFile() as output:
        Path(folder).chmod(0o755)
        demo = subprocess.Popen(
            [".venv/bin/callstream", "demo", "--leads", "20"], env=os.environ | {"TMPDIR": folder},
            stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        with pytest.raises(subprocess.TimeoutExpired):
            demo.wait(8)
        family = psutil.Process(demo.pid).children(recursive=True)
        assert family
        demo.send_signal(signal.SIGINT)
        status = demo.wait(40)
        output.seek(0)
        assert status == 130, output.read().decode()
        _, alive = psutil.wait_procs(family, timeout=5)
        assert alive == []
        assert list(Path(folder).iterdir()) == []
