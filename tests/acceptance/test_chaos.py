"""The whole under stress: roles killed, servers restarted, a failing cloud; in the end everything is as it should be.

The short form is part of the suite; `make chaos` runs the long one and prints what happened.
"""

import json
import os
import time

import pytest

from cli.groups import GROUPS
from cli.topics import all_topics
from devtools.apache_kafka import ApacheKafka
from devtools.chaos import Chaos, Growth
from devtools.cloud.process import CloudSimulator
from devtools.performance import Performance
from devtools.stage import Stage
from runtime.clock import SystemClock
from runtime.settings import Settings
from sinks.migrate import migrate

ROLES = ("poll", "start", "stream", "record", "sink", "monitor")
MEGABYTE = 2**20
MOST_MEMORY, MOST_GROWTH = 300, 60
SETTINGS = {"CALLSTREAM_RECORDINGS_ENABLED": "true", "CALLSTREAM_REASSERT_SECONDS": "5"}


def perform(*, leads: int, seconds: float, spread: float, pause: float, patience: float, seed: int) -> None:
    """Strike every `pause` seconds for `seconds`, then give everything `patience` seconds to be as it should be."""
    clock = SystemClock()
    began = clock.monotonic()
    cloud = CloudSimulator(seed=seed, spread_seconds=spread)
    with ApacheKafka() as kafka, Stage(kafka=kafka.bootstrap_servers, cloud=cloud, settings=SETTINGS) as stage:
        assert stage.postgres is not None
        migrate(stage.dsn)
        stage.create_topics(all_topics(Settings.load()))
        performance = Performance(stage, lead_count=leads, task_count=5, seed=seed, groups=GROUPS)
        try:
            with stage.run(ROLES, os.environ) as roles:
                performance.begin()
                chaos = Chaos(
                    seed=seed, roles=roles, kafka=kafka, postgres=stage.postgres, cloud=cloud, sleep=time.sleep
                )
                growth = Growth()
                while clock.monotonic() - began < seconds:
                    time.sleep(pause)
                    chaos.strike()
                    growth.observe(chaos.memory(), clock.monotonic())
                for _ in performance.watch(clock=clock, seconds=patience):
                    growth.observe(chaos.memory(), clock.monotonic())
            summary = performance.judge(duration_seconds=clock.monotonic() - began)
        finally:
            performance.close()
    memory, grown = (
        {role: size // MEGABYTE for role, size in sizes.items()} for sizes in (growth.largest(), growth.grown())
    )
    told = {"seed": seed, "struck": chaos.struck, "memory_mb": memory, "grown_mb": grown}
    print(json.dumps(told | summary.as_dict(), indent=2))  # noqa: T201 - what `make chaos` shows
    assert summary.problems == []
    assert all(summary.checks.values()), summary.checks
    assert max(memory.values()) < MOST_MEMORY, memory
    assert max(grown.values(), default=0) < MOST_GROWTH, grown
    assert sum(chaos.struck.values()) >= seconds / (pause + 15)


@pytest.mark.timeout(300)
def test_after_a_minute_of_chaos_everything_is_as_it_should_be() -> None:
    """Every lead called once, every row equal to the cloud, every ended call followed up, no dead letters."""
    perform(leads=300, seconds=60, spread=40, pause=3, patience=180, seed=20261124)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_after_a_long_chaos_everything_is_as_it_should_be() -> None:
    """The same with 5,000 leads; CALLSTREAM_CHAOS_SEED chooses another sequence."""
    seed = int(os.environ.get("CALLSTREAM_CHAOS_SEED", "1"))
    perform(leads=5000, seconds=600, spread=480, pause=4, patience=900, seed=seed)
