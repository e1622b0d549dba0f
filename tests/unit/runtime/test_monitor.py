"""The monitor's board and what it says of groups: what is not known is not shown as if it were."""

from collections.abc import Iterable
from datetime import UTC, datetime

import pytest
from prometheus_client import REGISTRY

from runtime.errors import RetryableError
from runtime.lag import GroupState, Health, Measured, Partition, PartitionLag, Stalls, health_of
from runtime.monitor import BLIND_SECONDS, Monitor

SHOWN = ("kafka_brokers", "kafka_consumergroup_lag", "callstream_dead_letters")


class Broker:
    """A broker that is there or away, and the clock of its story."""

    def __init__(self) -> None:
        self.is_away = False
        self.seconds = 0.0

    def look(self, further: Iterable[str] = ()) -> Measured:
        """Five records behind, three dead letters."""
        if self.is_away:
            message = "away"
            raise RetryableError(message)
        [letters] = further
        partition = Partition(topic=letters, partition=0, low=2, end=5, leader=1, replicas=(1,), in_sync=1)
        return Measured(lags=(lag(committed=4),), partitions=(partition,), brokers=((1, "host:9092"),))

    def monotonic(self) -> float:
        """Seconds of the story."""
        return self.seconds

    def now(self) -> datetime:
        """An instant."""
        return datetime(2026, 1, 1, tzinfo=UTC)

    def close(self) -> None:
        """Nothing is open."""


def lag(*, committed: int | None, end: int = 9) -> PartitionLag:
    """How far a group is behind in the one partition there is."""
    return PartitionLag(group="group", topic="work", partition=0, low=0, end=end, committed=committed)


def board() -> set[str]:
    """Which of three metrics have a value now."""
    return {sample.name for family in REGISTRY.collect() for sample in family.samples} & set(SHOWN)


def test_a_broker_that_is_away_leaves_a_gap_after_a_while() -> None:
    """A short outage changes nothing, so that no alert begins anew; a long one is seen, and its end too."""
    broker = Broker()
    monitor = Monitor(broker, ["work.dlq"], [], broker)
    monitor.turn()
    assert board() == set(SHOWN)
    assert monitor.letters() == {"work.dlq": 3}
    broker.is_away = True
    broker.seconds = BLIND_SECONDS
    monitor.turn()
    assert not monitor.has_measured()
    assert board() == set(SHOWN)
    broker.seconds += 1
    monitor.turn()
    assert board() == set()
    assert monitor.age() > BLIND_SECONDS
    broker.is_away = False
    monitor.turn()
    assert monitor.has_measured()
    assert board() == set(SHOWN)
    broker.is_away, broker.seconds = True, 2 * BLIND_SECONDS + 2
    monitor.turn()
    assert board() == set()


def test_a_group_that_has_work_and_commits_nothing_stalls() -> None:
    """From the moment when it had something to do; a commit, or nothing to do, begins anew."""
    stalls = Stalls()
    assert stalls.observe([lag(committed=9)], 0.0) == {"group": 0.0}
    assert stalls.observe([lag(committed=9)], 100.0) == {"group": 0.0}
    assert stalls.observe([lag(committed=9, end=12)], 102.0) == {"group": 2.0}
    assert stalls.observe([lag(committed=9, end=12)], 170.0) == {"group": 70.0}
    assert stalls.observe([lag(committed=10, end=12)], 172.0) == {"group": 0.0}


@pytest.mark.parametrize(
    ("state", "members", "stalled", "health", "words"),
    [
        ("Stable", 2, 0.0, Health.WORKING, "Stable, 2 members"),
        ("Stable", 1, 75.0, Health.STUCK, "stuck for 75 s (Stable, 1 member)"),
        ("Empty", 0, 75.0, Health.NOBODY, "nobody works (Empty)"),
        ("Dead", 0, 0.0, Health.NOBODY, "nobody has worked for days, or ever (Dead)"),
        ("Unknown", 0, 0.0, Health.UNKNOWN, "the broker does not say who works"),
    ],
)
def test_a_groups_health_is_said_in_words(state: str, members: int, stalled: float, health: str, words: str) -> None:
    """Somebody who is there and does nothing is not well; nobody is worse."""
    assert health_of(GroupState(group="group", state=state, members=members), stalled) == (health, words)
