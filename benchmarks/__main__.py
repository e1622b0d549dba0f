"""All benchmarks in order, each in a process of its own, and a line about each.

Usage: python -m benchmarks [--quick]

With --quick each is so small that it only shows whether it works; nothing is recorded then.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measuring import RESULTS, RESULTS_VARIABLE, ROOT


@dataclass(frozen=True, kw_only=True)
class Script:
    """A benchmark, its small form, and what to say of its result."""

    name: str
    quick: str
    line: Callable[[Mapping[str, Any]], str]


def _debezium(result: Mapping[str, Any]) -> str:
    return "; ".join(
        f"against {name}: {of['events_per_second']:.2f} of its events/s, {of['client_cpu_us_each']:.2f} of its CPU, "
        f"{of['client_rss_mb']:.2f} of its memory"
        for name, of in result["ratios"].items()
    )


def _row_by_row(result: Mapping[str, Any]) -> str:
    return "; ".join(
        f"{network}, against {way}: create and start {of['create_and_start_ms']:.0f} times, a page {of['page_ms']:.1f}"
        for network, found in result["networks"].items()
        for way, of in found["times_as_fast"].items()
    )


def _bad_rows(result: Mapping[str, Any]) -> str:
    return "; ".join(
        f"{each['bad']} bad, {each['way']}: {each['statements']:.0f} statements, {each['ms']:.0f} ms"
        for each in result["results"]
    )


def _detectors(result: Mapping[str, Any]) -> str:
    return "; ".join(f"against {name}: {times} of its observations/s" for name, times in result["ours_to"].items())


def _recovery(result: Mapping[str, Any]) -> str:
    return "; ".join(
        f"{each['jobs']:,} jobs: ready after {each['ready_seconds']} s, {each['memory_bytes_per_job']} bytes a job"
        for each in result["tables"]
    )


SCRIPTS = (
    Script(
        name="change_detection",
        quick="--observations 20000 --rounds 1",
        line=lambda r: f"{r['observations_per_second']:,} observations/s, {r['worker_cpu_us_each']} us CPU each",
    ),
    Script(name="detectors", quick="--observations 20000 --rounds 1", line=_detectors),
    Script(name="recovery", quick="--jobs 10000", line=_recovery),
    Script(
        name="follow_ups",
        quick="--calls 2000 --asked 64",
        line=lambda r: f"{r['follow_ups_per_second']:,} follow-ups/s by a model, {r['used']} of what is allowed",
    ),
    Script(
        name="sink",
        quick="--events 20000 --jobs 5000 --rounds 1",
        line=lambda r: f"{r['events_per_second']:,} events/s, {r['ratio_to_server_side']} of the server alone",
    ),
    Script(name="debezium", quick="--events 20000 --jobs 5000 --rounds 1", line=_debezium),
    Script(name="row_by_row", quick="--leads 100 --rounds 1", line=_row_by_row),
    Script(name="bad_rows", quick="--rows 200 --rounds 1", line=_bad_rows),
)


def main() -> None:
    """Run all; ends with the status of the first that fails."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as scratch:
        results = Path(scratch) if quick else RESULTS
        env = os.environ | {RESULTS_VARIABLE: str(results)}
        for script in SCRIPTS:
            command = [sys.executable, "-m", f"benchmarks.{script.name}", *(script.quick.split() if quick else ())]
            done = subprocess.run(command, stdout=subprocess.DEVNULL, cwd=ROOT, env=env, check=False)
            if done.returncode:
                sys.exit(done.returncode)
            newest = (results / f"{script.name}.jsonl").read_text(encoding="utf-8").splitlines()[-1]
            print(f"{script.name}: {script.line(json.loads(newest))}", flush=True)


if __name__ == "__main__":
    main()
