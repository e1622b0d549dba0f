"""The board and the alerts: built from code, about metrics that exist, each alert tested and explained."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from dashboards.build import BOARD, ROWS, build
from docs.generate import all_metrics, exported_name

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "dashboards"
RULES = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"][0]["rules"]
TESTS = yaml.safe_load((FOLDER / "alerts_test.yml").read_text())["tests"]
QUERIES = [query for panels in ROWS.values() for panel in panels for query in panel.queries.values()]
_METRIC = re.compile(r"\b(?:callstream|kafka)_\w+")


def promtool(*words: str) -> None:
    """Run promtool in the folder of the rules; its words are the failure's."""
    program = shutil.which("promtool")
    if program is None:
        pytest.fail("promtool is needed: install the Debian package prometheus, or all of them by make debian")
    done = subprocess.run([program, *words], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_board_is_what_its_code_builds() -> None:
    """Whoever changes a panel runs `make reference`."""
    assert BOARD.read_text(encoding="utf-8") == build()


def test_every_query_is_about_metrics_that_exist() -> None:
    """A renamed metric would leave an empty panel, or an alert that never fires."""
    names = {exported_name(metric) for metric in all_metrics()}
    known = names | {name + end for name in names for end in ("_bucket", "_count", "_sum")}
    asked = {name for query in [*QUERIES, *(rule["expr"] for rule in RULES)] for name in _METRIC.findall(query)}
    assert asked - known == set()
    assert len(asked) > 15


def test_the_alerts_are_valid_and_fire_when_they_should() -> None:
    """Prometheus's own tool checks the rules and runs their tests."""
    promtool("check", "rules", "alerts.yml")
    promtool("test", "rules", "alerts_test.yml")


def test_every_alert_is_tested_and_has_a_page() -> None:
    """Quiet before its time, loud after it, and somebody who is woken finds what to do."""
    alerts = {rule["alert"] for rule in RULES}
    cases = [case for test in TESTS for case in test["alert_rule_test"]]
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == alerts
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == alerts
    pages = {path.stem for path in (ROOT / "docs" / "runbook").glob("*.md")} - {"README"}
    assert pages == alerts
    assert all(rule["annotations"]["runbook"] == f"docs/runbook/{rule['alert']}.md" for rule in RULES)
