"""What can happen to a sink's group: sinks that join and leave under load, and a broker that dies."""

import time
from pathlib import Path

import pytest
from confluent_kafka import Consumer

from devtools.apache_kafka import ApacheKafka
from devtools.processes import wait_until
from runtime.kafka import Publisher, make_admin
from runtime.settings import KafkaSettings
from runtime.topic_admin import ensure_topics, wanted_topics
from schemas.topics import LEAD_ADDED
from sinks.loop import GROUP
from tests.fixtures.ledger import Ledger
from tests.fixtures.sink_load import Load
from tests.fixtures.sink_process import SinkProcess


@pytest.mark.long
def test_sinks_that_join_and_leave_under_load_lose_and_repeat_nothing(
    topics: str, database: str, publisher: Publisher, tmp_path: Path
) -> None:
    """Without static membership every arrival and departure is a rebalance; each leaves with status 0."""
    dynamic = {"CALLSTREAM_INSTANCE_ID": ""}
    with Ledger(topics, database) as ledger, SinkProcess(topics, database, tmp_path, settings=dynamic) as first:
        second = SinkProcess(topics, database, tmp_path, name="two", settings=dynamic)
        with Load(publisher, seed=11, rate=1500) as load:
            with second:
                load.wait_sent(1000)
                assert second.terminate() == 0
                ledger.check()
                second.start()
                second.wait_ready()
                load.wait_sent(1000)
                assert first.terminate() == 0
                ledger.check()
                before = ledger.progress()
                wait_until(lambda: ledger.progress() > before, seconds=20, what="the second one goes on", interval=0.2)
                first.start()
                first.wait_ready()
            ledger.check()
        ledger.finish(seconds=60)
        assert not first.logged("subscription.lost")


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize("instance", ["", "still"], ids=["dynamic", "static"])
def test_a_sink_that_stood_still_beyond_its_session_takes_nothing_back(
    topics: str, database: str, publisher: Publisher, tmp_path: Path, instance: str
) -> None:
    """Its partitions are another's by then; what it still has in hand it may write, and commits nowhere.

    It stands still where it may be in the middle of anything, three times, and works again afterwards by itself.
    """
    settings = {"CALLSTREAM_INSTANCE_ID": instance}
    with (
        Ledger(topics, database) as ledger,
        SinkProcess(topics, database, tmp_path, name="still", settings=settings) as still,
        SinkProcess(topics, database, tmp_path, name="other", settings={"CALLSTREAM_INSTANCE_ID": ""}),
    ):
        with Load(publisher, seed=13, rate=1500) as load:
            for pause in (0.3, 1.1, 2.3):
                load.wait_sent(1000)
                time.sleep(pause)
                still.stand_still()
                before = ledger.progress()
                time.sleep(16)
                ledger.check()
                assert ledger.progress() > before, "the other one took its partitions"
                still.go_on()
                load.wait_sent(500)
                ledger.check()
                still.wait_ready()
        ledger.finish(seconds=60)
        assert still.is_running()


def test_a_sink_whose_place_another_takes_ends_to_be_started_again(topics: str, database: str, tmp_path: Path) -> None:
    """A broker that comes back can fence a static member too, whose client then is silent for ever."""
    with SinkProcess(topics, database, tmp_path, name="twin") as sink:
        twin = Consumer(
            {
                "bootstrap.servers": topics,
                "group.id": GROUP,
                "group.instance.id": f"{GROUP}-twin",
                "partition.assignment.strategy": "cooperative-sticky",
            }
        )

        def has_ended() -> bool:
            twin.poll(0.1)
            return not sink.is_running()

        twin.subscribe([LEAD_ADDED.name])
        try:
            wait_until(has_ended, seconds=30, what="the end of the sink")
        finally:
            twin.close()
        assert sink.terminate() == 1
        assert sink.logged("role.failed")


@pytest.mark.timeout(400)
def test_a_broker_that_is_killed_and_comes_back_costs_nothing(database: str, tmp_path: Path) -> None:
    """SIGKILL of the broker under load: everything is committed when it is back, although it fences static members."""
    with ApacheKafka() as broker:
        settings = KafkaSettings(bootstrap_servers=broker.bootstrap_servers)
        admin = make_admin(settings)
        ensure_topics(admin, wanted_topics(4))
        publisher = Publisher(settings)
        with (
            Ledger(broker.bootstrap_servers, database) as ledger,
            SinkProcess(broker.bootstrap_servers, database, tmp_path, is_supervised=True) as sink,
        ):
            with Load(publisher, seed=12, rate=800) as load:
                for seconds in (0.0, 4.0):
                    load.wait_sent(1000)
                    broker.kill()
                    time.sleep(seconds)
                    broker.start()
                    load.wait_sent(500)
                    ledger.check()
            ledger.finish(seconds=120)
            assert sink.is_running()
        publisher.close()
