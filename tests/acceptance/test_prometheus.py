"""A real Prometheus scrapes the running system: every query of the board and every alert can be answered."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import urlopen

import pytest
import yaml

from cli.groups import GROUPS
from dashboards.build import ROWS
from devtools.cloud.process import CloudSimulator
from devtools.performance import Performance
from devtools.processes import free_port, spawn, stop, wait_until
from devtools.stage import Stage
from runtime.clock import SystemClock
from sinks.migrate import migrate

ROLES = ("poll", "start", "stream", "sink", "monitor")
PROCESSES = len(ROLES) + 1  # stream is two
DASHBOARDS = Path(__file__).parents[2] / "dashboards"
# Nothing of it happens in a run without faults.
QUIET = ("code!=", "stalled_seconds > 10", "database_errors")

# What the boards ask that people have for kafka_exporter; "Kafka Exporter Overview" is the best known.
THEIRS = (
    'sum(rate(kafka_topic_partition_current_offset{topic!="__consumer_offsets"}[2m])) by (topic)',
    "sum(kafka_consumergroup_lag) by (consumergroup, topic)",
    "sum(delta(kafka_topic_partition_current_offset[5m]) / 5) by (topic)",
    "sum(delta(kafka_consumergroup_current_offset[5m]) / 5) by (consumergroup, topic)",
    "sum by (topic) (kafka_topic_partitions)",
    "sum(kafka_topic_partition_under_replicated_partition)",
    "kafka_consumergroup_lag_sum",
    "kafka_consumergroup_current_offset_sum",
    "kafka_brokers",
)


@contextmanager
def prometheus(folder: Path, ports: list[int]) -> Iterator[str]:
    """A Prometheus on its own data that scrapes those ports of this machine every second; its address."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.fail("Prometheus is needed: install the Debian package prometheus, or all of them by make debian")
    jobs = [{"job_name": "callstream", "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in ports]}]}]
    pace = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config = {"global": pace, "rule_files": [str(DASHBOARDS / "alerts.yml")], "scrape_configs": jobs}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    command = [program, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
               f"--web.listen-address={address}"]  # fmt: skip
    with (folder / "prometheus.log").open("wb") as log:
        process = spawn(command, stdout=log, cwd=folder)
    try:
        wait_until(lambda: ask(address, "/-/ready") is not None, seconds=30, what="Prometheus")
        yield address
    finally:
        stop(process)


def ask(address: str, path: str) -> bytes | None:
    """What Prometheus answers; None while nobody does."""
    try:
        with urlopen(f"http://{address}{path}", timeout=10) as answer:
            return bytes(answer.read())
    except OSError:
        return None


def result(address: str, query: str) -> list[Any]:
    """The instant vector of a query; an error fails the test."""
    answer = ask(address, f"/api/v1/query?query={quote(query)}")
    assert answer is not None, f"refused: {query}"
    return list(json.loads(answer)["data"]["result"])


def test_every_query_of_the_board_has_an_answer(whole_topics: str, tmp_path: Path) -> None:
    """And the rules are evaluated without an error, and each role's metrics are well made."""
    cloud = CloudSimulator(spread_seconds=3)
    with Stage(kafka=whole_topics, cloud=cloud) as stage:
        migrate(stage.dsn)
        groups = {group: topics for group, topics in GROUPS.items() if group != "callstream-record"}
        performance = Performance(stage, lead_count=40, task_count=1, seed=5, groups=groups)
        try:
            with stage.run(ROLES, os.environ) as roles:
                first = int(roles.environment["CALLSTREAM_HTTP_PORT"])
                ports = list(range(first, first + PROCESSES))
                with prometheus(tmp_path, ports) as address:
                    wait_until(lambda: len(result(address, "up == 1")) == PROCESSES, seconds=60, what="all targets")
                    performance.begin()
                    for _ in performance.watch(clock=SystemClock(), seconds=90):
                        pass
                    queries = [query for row in ROWS.values() for panel in row for query in panel.queries.values()]
                    asked = [query.replace("$__rate_interval", "2m") for query in queries]
                    empty = [query for query in asked if not result(address, query)]
                    assert [query for query in empty if not any(word in query for word in QUIET)] == []
                    assert [query for query in THEIRS if not result(address, query)] == []
                    assert len(result(address, "kafka_brokers")) == 1, "only the monitor knows"
                    rules = json.loads(ask(address, "/api/v1/rules") or b"")["data"]["groups"][0]["rules"]
                    assert {rule["health"] for rule in rules} == {"ok"}
                    assert result(address, 'ALERTS{alertstate="firing"}') == []
                pages = [ask(f"127.0.0.1:{port}", "/metrics") for port in ports]
        finally:
            performance.close()
    for page in pages:
        assert page is not None
        done = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, check=False)
        problems = [line for line in done.stderr.decode().splitlines() if line.startswith("callstream_")]
        assert problems == []
