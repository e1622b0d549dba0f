"""Stopping a task by the command, as a person does: nobody more is assigned, whoever is away, whatever was in hand."""

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from devtools.cloud.process import CloudSimulator
from devtools.processes import free_port
from runtime.kafka import Publisher
from schemas.ids import RequestId
from schemas.tasks import StartRequested
from schemas.topics import TASK_STATE_CHANGED
from tests.fixtures.mortal_starter import Fate, Surroundings, live
from tests.fixtures.starter_bench import TASK, StarterBench
from tests.fixtures.topics import read_events


@pytest.fixture
def bench(topics: str, database: str, publisher: Publisher) -> Iterator[StarterBench]:
    """Everything real; calls begin so late that none has begun when it is stopped."""
    with CloudSimulator(spread_seconds=3600) as cloud:
        yield StarterBench(topics, database, publisher, cloud)


def command(
    bench: StarterBench, *words: str, kafka: str | None = None, endpoint: str | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run `callstream task` in a process of its own; names another broker or cloud where they are to be away."""
    environment = {
        "PATH": os.environ["PATH"],
        "CALLSTREAM_KAFKA_BOOTSTRAP_SERVERS": kafka or bench.topics,
        "CALLSTREAM_POSTGRES_DSN": bench.dsn,
        "ALIBABA_CLOUD_ACCESS_KEY_ID": bench.cloud.access_key_id,
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET": bench.cloud.access_key_secret,
        "CALLSTREAM_OUTBOUNDBOT_INSTANCE_ID": bench.cloud.instance_id,
        "CALLSTREAM_OUTBOUNDBOT_ENDPOINT": endpoint or bench.cloud.endpoint,
        "CALLSTREAM_OUTBOUNDBOT_PROTOCOL": "http",
    }
    return subprocess.run(
        [sys.executable, "-m", "cli.main", "task", *words],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def statuses(bench: StarterBench) -> set[str]:
    """What the jobs of the cloud are at."""
    return {job["status"] for job in bench.cloud.truth()}


def test_an_emergency_stop_works_while_kafka_is_away(bench: StarterBench) -> None:
    """The command tells the cloud itself; later leads are not assigned; a starter announces it when it can."""
    bench.add_leads(0, 3)
    bench.starter().request(StartRequested(task_id=TASK))
    bench.pass_until(bench.has_all)
    result = command(bench, "cancel", TASK, kafka=f"127.0.0.1:{free_port()}")
    assert (result.returncode, result.stdout) == (0, f"task {TASK}: cancelled\n")
    assert statuses(bench) == {"Cancelled"}
    bench.add_leads(3, 5)
    bench.pass_once(bench.starter())
    bench.pass_once(bench.starter())
    assert len(bench.cloud.truth()) == 3
    assert [event.state for event in read_events(bench.topics, TASK_STATE_CHANGED)][-1] == "cancelled"
    assert bench.sql("select state, pending_order from call_tasks") == [("cancelled", None)]


def test_a_stop_while_the_cloud_is_away_is_said_and_made_good_by_a_starter(bench: StarterBench) -> None:
    """One sentence and exit status 1; nobody more is assigned; the next starter that reaches the cloud tells it."""
    bench.add_leads(0, 3)
    bench.starter().request(StartRequested(task_id=TASK))
    bench.pass_until(bench.has_all)
    result = command(bench, "pause", TASK, endpoint=f"127.0.0.1:{free_port()}")
    assert result.returncode == 1
    assert "is paused and nobody more is assigned, but the cloud was not told" in " ".join(result.stderr.split())
    assert statuses(bench) == {"Scheduling"}
    bench.pass_until(lambda: bench.sql("select pending_order from call_tasks") == [(None,)])
    assert statuses(bench) == {"Paused"}


@pytest.mark.parametrize("order", ["pause", "cancel"])
def test_what_a_killed_starter_had_in_its_hand_is_stopped_too(bench: StarterBench, order: str) -> None:
    """It dies with a chunk whose effect comes after the order: it is stopped in the end, and its rows get their ids."""
    bench.add_leads(0, 3)
    cloud = bench.cloud
    place = Surroundings(
        dsn=bench.dsn,
        kafka=bench.topics,
        endpoint=cloud.endpoint,
        instance_id=cloud.instance_id,
        access_key_id=cloud.access_key_id,
        access_key_secret=cloud.access_key_secret,
    )
    processes = multiprocessing.get_context("forkserver")
    ours, theirs = processes.Pipe(duplex=False)
    request = StartRequested(task_id=TASK, request_id=RequestId("q1"))
    cloud.add_fault("AssignJobs", "late-drop", seconds=0.7)
    child = processes.Process(
        target=live, args=(place, request, Fate(dies_at="cloud AssignJobs", moment="after"), theirs)
    )
    child.start()
    child.join(60)
    bench.sql("update call_tasks set assign_leased_until = now() - interval '1 s'")
    assert child.exitcode == -9
    assert command(bench, order, TASK).returncode == 0
    bench.pass_until(lambda: bench.sql("select pending_order from call_tasks") == [(None,)])
    bench.apply()
    assert statuses(bench) == {"Paused" if order == "pause" else "Cancelled"}
    assert bench.has_all()
    bench.assert_everybody_once(3)
    ours.close()
    theirs.close()


def test_orders_about_tasks_that_are_none_or_not_so_far_are_said(bench: StarterBench) -> None:
    """One sentence each, and exit status 1."""
    unknown = command(bench, "pause", "nobody")
    bench.sql("insert into call_tasks (task_id, state) values (%s, 'cancelled')", TASK)
    ended = command(bench, "resume", TASK)
    assert (unknown.returncode, ended.returncode) == (1, 1)
    assert "there is no task nobody" in unknown.stderr
    assert f"task {TASK} is not paused: it is cancelled" in ended.stderr
