"""Change detection while its broker is away: a worker waits and goes on by itself, with nothing lost."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from devtools.apache_kafka import ApacheKafka
from devtools.processes import stop, wait_until
from tests.fixtures.streams import Streams
from tests.integration.test_streams_kills import Load, await_progress, behind, judge


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[ApacheKafka]:
    """A broker of the test's own, which finds its data again when it comes back."""
    with ApacheKafka(tmp_path / "broker") as broker:
        yield broker


@pytest.fixture
def kafka(broker: ApacheKafka) -> str:
    """What the topics of the test are made on."""
    return broker.bootstrap_servers


@pytest.fixture
def kafka_admin(kafka: str) -> AdminClient:
    """An admin client of that broker."""
    return AdminClient({"bootstrap.servers": kafka, "log_level": 0})


def outage(streams: Streams, broker: ApacheKafka, *, seconds: float) -> None:
    """Kill the broker under load, bring it back later, and judge what came out of it all."""
    load, stopping = Load(streams), threading.Event()
    thread = threading.Thread(target=load.run, args=(stopping,))
    thread.start()
    try:
        worker = streams.start("changes")
        await_progress(streams)
        broker.kill()
        time.sleep(3)
        wait_until(lambda: not streams.is_ready(), seconds=20, what="not ready")
        time.sleep(seconds - 3)
        broker.start()
        await_progress(streams)
    finally:
        stopping.set()
        thread.join()
    wait_until(lambda: not behind(streams), seconds=60, what="all pages acknowledged")
    wait_until(streams.is_ready, seconds=20, what="ready again")
    assert worker.poll() is None, "it went on by itself"
    stop(worker)
    verdict = judge(streams, 0, behind(streams))
    assert verdict.is_right, verdict


@pytest.mark.timeout(180)
def test_a_broker_that_was_away_for_seconds_costs_nothing(streams: Streams, broker: ApacheKafka) -> None:
    """Killed and back after five seconds: the same process is ready again and every change is out."""
    outage(streams, broker, seconds=5)


@pytest.mark.long
@pytest.mark.timeout(400)
def test_a_broker_that_was_away_for_more_than_a_minute_costs_nothing(streams: Streams, broker: ApacheKafka) -> None:
    """The same when the session of the worker has long ended."""
    outage(streams, broker, seconds=75)
