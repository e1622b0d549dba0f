"""The start role as a process, with wrong credentials and with right ones: what it says, and what it never says."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from devtools.cloud.process import CloudSimulator
from devtools.processes import free_port, spawn, stop, wait_until
from schemas.ids import LeadId, TaskId, reference_id_for

TASK = TaskId("task-1")
PHONE = "13812345678"


def environment(topics: str, dsn: str, cloud: CloudSimulator, **other: str) -> dict[str, str]:
    """Settings, with the SDK told to print all that it does."""
    return {
        "PATH": os.environ["PATH"],
        "DEBUG": "sdk",
        "CALLSTREAM_KAFKA_BOOTSTRAP_SERVERS": topics,
        "CALLSTREAM_POSTGRES_DSN": dsn,
        "ALIBABA_CLOUD_ACCESS_KEY_ID": cloud.access_key_id,
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET": cloud.access_key_secret,
        "CALLSTREAM_OUTBOUNDBOT_INSTANCE_ID": cloud.instance_id,
        "CALLSTREAM_OUTBOUNDBOT_ENDPOINT": cloud.endpoint,
        "CALLSTREAM_OUTBOUNDBOT_PROTOCOL": "http",
        "CALLSTREAM_HTTP_PORT": str(free_port()),
        **other,
    }


@contextmanager
def starting(settings: Mapping[str, str], log: Path) -> Iterator[None]:
    """The role, in a process of its own."""
    with log.open("wb") as output:
        process = spawn([sys.executable, "-m", "cli.main", "run", "start"], stdout=output, env=settings)
        try:
            yield
        finally:
            stop(process, grace=20)


def readiness(settings: Mapping[str, str]) -> str:
    """What `/readyz` says; nothing while nobody listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{settings['CALLSTREAM_HTTP_PORT']}/readyz", timeout=2) as page:
            return str(page.read().decode()).strip()
    except urllib.error.HTTPError as error:
        return error.read().decode().strip()
    except OSError:
        return ""


def add_started_task(dsn: str) -> None:
    """A task that somebody started, with a lead."""
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "insert into call_tasks (task_id, state, started_at, assign_due_at) values (%s, 'starting', now(), now())",
            (TASK,),
        )
        connection.execute(
            "insert into leads_task_list (task_id, leads_id, leads_name, leads_phone, reference_id)"
            " values (%s, 'lead-1', '王小明', %s, %s)",
            (TASK, PHONE, reference_id_for(TASK, LeadId("lead-1"))),
        )


def has_job(dsn: str, cloud: CloudSimulator) -> bool:
    """Whether the lead was assigned and its task is calling."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute("select state from call_tasks").fetchone()
    return row == ("calling",) and len(cloud.truth()) == 1


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"ALIBABA_CLOUD_ACCESS_KEY_SECRET": "hunter2hunter2"}, "SignatureDoesNotMatch"),
        ({"ALIBABA_CLOUD_ACCESS_KEY_SECRET": ""}, "ALIBABA_CLOUD_ACCESS_KEY_SECRET are not set"),
        ({"CALLSTREAM_OUTBOUNDBOT_INSTANCE_ID": "another"}, "NotExist.Instance"),
    ],
)
def test_a_cloud_that_does_not_let_us_in_is_said_once_and_makes_the_role_not_ready(
    topics: str, database: str, cloud: CloudSimulator, tmp_path: Path, wrong: dict[str, str], sentence: str
) -> None:
    """By the role and by `callstream check`, without a secret in any word; the role lives on."""
    add_started_task(database)
    settings = environment(topics, database, cloud, **wrong)
    log = tmp_path / "log"
    with starting(settings, log):
        wait_until(lambda: readiness(settings) == "not ready: cloud", seconds=40, what="not ready for the cloud only")
        wait_until(lambda: "task.not_advanced" in log.read_text(), seconds=20, what="a look at the task")
    records = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    refused = [record for record in records if record["event"] == "cloud.refused"]
    assert refused
    assert all(sentence in record["error"] for record in refused)
    assert len({record["action"] for record in refused}) == len(refused), "once for each action"
    assert len([record for record in records if record["event"] == "task.not_advanced"]) == 1
    checked = subprocess.run(
        [sys.executable, "-m", "cli.main", "check", "--json"],
        env=settings, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert checked.returncode == 1
    assert sentence in json.loads(checked.stdout.splitlines()[-1])["problems"]["cloud"]
    for text in (log.read_text(), checked.stdout, checked.stderr):
        assert "hunter2" not in text
        assert "Authorization" not in text
        assert PHONE not in text


def test_no_log_has_credentials_or_people_in_it_even_with_the_sdk_told_to_print_all(
    topics: str, database: str, cloud: CloudSimulator, tmp_path: Path
) -> None:
    """With DEBUG=sdk the SDK prints whole calls, were it not silenced."""
    add_started_task(database)
    settings = environment(topics, database, cloud)
    log = tmp_path / "log"
    with starting(settings, log):
        wait_until(lambda: has_job(database, cloud), seconds=40, what="the assignment")
        wait_until(lambda: readiness(settings) == "ok", seconds=40, what="ready")
    text = log.read_text()
    for secret in (cloud.access_key_secret, cloud.access_key_id, "Authorization", "Signature", PHONE, "王小明"):
        assert secret not in text
