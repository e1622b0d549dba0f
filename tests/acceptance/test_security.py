"""Every role over TLS, with a password, and with no more rights than the documents name; and what wrong ones say."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import psycopg
import pytest

from cli.groups import GROUPS
from cli.topics import all_topics
from devtools.cloud.process import CloudSimulator
from devtools.performance import Performance
from devtools.processes import wait_until
from devtools.secured import SecuredParts
from devtools.stage import Stage
from runtime.clock import SystemClock
from runtime.settings import Settings
from schemas.topics import JOBS_POLLED
from sinks.migrate import migrate

ROLES = ("poll", "start", "stream", "sink", "monitor")
GRANTS = Path(__file__).parents[2] / "sinks" / "grants.sql"


@pytest.fixture(scope="module")
def secured() -> Iterator[SecuredParts]:
    """Kafka and PostgreSQL that ask who you are; the roles' account has the documented rights and no others."""
    with SecuredParts() as parts:
        yield parts


@pytest.fixture
def stage(secured: SecuredParts, request: pytest.FixtureRequest) -> Iterator[Stage]:
    """A stage whose roles come in through TLS with a password."""
    dsn = secured.postgres.create_database(f"secured_{abs(hash(request.node.name))}")
    migrate(dsn)
    with psycopg.connect(dsn) as owner:
        owner.execute(GRANTS.read_text())
        owner.execute(f"grant callstream_app to {secured.username}")
    settings = secured.environment(dsn)
    cloud = CloudSimulator(spread_seconds=2)
    with Stage(kafka=secured.kafka.bootstrap_servers, postgres=dsn, cloud=cloud, settings=settings) as stage:
        stage.create_topics(all_topics(Settings.load()))
        yield stage


def check(environment: Mapping[str, str], folder: Path) -> tuple[int, dict[str, str], str]:
    """Run `callstream check --json`: exit status, problems, all that it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "check", "--json"],
        env=environment, cwd=folder, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, json.loads(done.stdout.splitlines()[-1])["problems"], done.stdout + done.stderr


def test_the_whole_path_works_over_tls_with_least_rights(stage: Stage, secured: SecuredParts) -> None:
    """Leads become rows that equal the cloud; no log holds the password."""
    assert check(stage.environment(os.environ), stage.folder)[0] == 0
    groups = {group: topics for group, topics in GROUPS.items() if group != "callstream-record"}
    performance = Performance(stage, lead_count=30, task_count=1, seed=7, groups=groups)
    clock = SystemClock()
    try:
        with stage.run(ROLES, os.environ) as roles:
            performance.begin()
            for _ in performance.watch(clock=clock, seconds=90):
                pass
            summary = performance.judge(duration_seconds=0)
    finally:
        performance.close()
    assert summary.problems == []
    assert all(summary.checks.values()), summary.checks
    assert secured.password not in roles.log.read_text()


@pytest.mark.parametrize(
    ("wrong", "part", "words"),
    [
        ({"CALLSTREAM_KAFKA_SASL_PASSWORD": "wrong-secret"}, "kafka", "invalid credentials"),
        ({"CALLSTREAM_KAFKA_SASL_USERNAME": "nobody"}, "kafka", "invalid credentials"),
        ({"CALLSTREAM_KAFKA_SSL_CA_LOCATION": "other"}, "kafka", "certificate"),
        ({"CALLSTREAM_KAFKA_SECURITY_PROTOCOL": "PLAINTEXT"}, "kafka", "security protocol PLAINTEXT"),
        ({"CALLSTREAM_POSTGRES_DSN": "password"}, "postgres", "password"),
        ({"CALLSTREAM_POSTGRES_DSN": "authority"}, "postgres", "certificate"),
    ],
)
def test_what_is_wrong_is_said_by_name(
    stage: Stage, secured: SecuredParts, wrong: dict[str, str], part: str, words: str
) -> None:
    """One line that a person can act on, without the secret; the other part is not blamed."""
    environment = stage.environment(os.environ)
    [(variable, value)] = wrong.items()
    match value:
        case "other":
            value = str(secured.other_ca_file)
        case "password":
            value = psycopg.conninfo.make_conninfo(environment[variable], password="wrong-secret")
        case "authority":
            value = psycopg.conninfo.make_conninfo(environment[variable], sslrootcert=str(secured.other_ca_file))
    status, problems, output = check(environment | {variable: value}, stage.folder)
    assert status == 1
    assert words in problems[part], problems
    assert {name for name, problem in problems.items() if problem} == {part}
    assert "wrong-secret" not in output
    assert secured.password not in output


def test_a_topic_without_permission_is_named(stage: Stage, secured: SecuredParts) -> None:
    """`check` says which; a role that needs it lives, is not ready and says why."""
    secured.forbid(JOBS_POLLED.name)
    environment = stage.environment(os.environ)
    status, problems, _ = check(environment, stage.folder)
    assert status == 1
    assert JOBS_POLLED.name in problems["kafka"]
    with stage.run(["stream"], os.environ) as roles:
        wait_until(
            lambda: f'{{"topics": ["{JOBS_POLLED.name}"], "event": "topics.missing"' in roles.log.read_text(),
            seconds=40,
            what="the topic's name in the log",
        )
