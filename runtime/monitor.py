"""The monitor: publishes what the broker knows of every group and of the dead letters, until a signal comes.

From committed offsets alone: what a worker says of itself freezes with it. What is not known is not published: series
of what is gone leave, and all of them leave when the broker has not answered for a while, so that a board has a gap
where it would otherwise go on showing the last good day.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from prometheus_client import REGISTRY, Gauge

from runtime import metrics
from runtime.clock import Clock
from runtime.errors import RetryableError
from runtime.lag import Measured, Stalls
from runtime.logs import get_logger
from runtime.service import Service

MEASURE_SECONDS = 2.0
BLIND_SECONDS = 15.0

log = get_logger(__name__)

Labels = tuple[str, ...]


class Meter(Protocol):
    """What is asked about the broker."""

    def look(self, further: Iterable[str] = ()) -> Measured:
        """Return what is so now, with the partitions of the `further` topics; raises RetryableError."""
        ...

    def close(self) -> None:
        """Close what is open."""
        ...


class Monitor:
    """Measures every few seconds; while the broker is away readiness says so, and the page how old the last look is."""

    def __init__(
        self,
        meter: Meter,
        dead_letters: Sequence[str],
        others: Sequence[str],
        clock: Clock,
    ) -> None:
        self._meter = meter
        self._dead_letters = frozenset(dead_letters)
        self._topics = (*dead_letters, *others)
        self._clock = clock
        self._stalls = Stalls()
        self._board = _Board()
        self._looked_at = clock.monotonic()
        self._has_measured = False
        self.last = Measured()
        self.stalled: dict[str, float] = {}

    def has_measured(self) -> bool:
        """Return whether the last look succeeded."""
        return self._has_measured

    def age(self) -> float:
        """Return how many seconds ago the last look succeeded, or the monitor was made."""
        return self._clock.monotonic() - self._looked_at

    def letters(self) -> dict[str, int]:
        """Return how many records each dead letter topic held at the last look."""
        found: dict[str, int] = {}
        for there in self.last.partitions:
            if there.topic in self._dead_letters:
                found[there.topic] = found.get(there.topic, 0) + there.records
        return found

    def run(self, service: Service) -> None:
        """Measure until the service stops."""
        while not service.stopping.is_set():
            service.health.beat()
            self.turn()
            service.wait(MEASURE_SECONDS)
        self._board.clear()
        self._meter.close()

    def turn(self) -> None:
        """Measure once, and show it; what is too old is shown no more."""
        try:
            self._measure()
        except RetryableError as error:
            log.warning("monitor.unmeasured", error=str(error))
            self._has_measured = False
        else:
            self._has_measured = True
        if self.age() > BLIND_SECONDS:
            self._board.clear()

    def _measure(self) -> None:
        self.last = self._meter.look(self._topics)
        self._looked_at = self._clock.monotonic()
        self.stalled = self._stalls.observe(self.last.lags, self._looked_at)
        self._show_groups()
        self._show_topics()

    def _show_groups(self) -> None:
        lags, now, show = self.last.lags, self._clock.now(), self._board.show
        places = [(lag.group, lag.topic, str(lag.partition)) for lag in lags]
        offsets = [-1 if lag.committed is None else lag.committed for lag in lags]
        records = [lag.records for lag in lags]
        show(metrics.GROUP_LAG, dict(zip(places, records, strict=True)))
        show(metrics.GROUP_OFFSET, dict(zip(places, offsets, strict=True)))
        show(metrics.GROUP_LAG_SECONDS, {place: lag.seconds(now) for place, lag in zip(places, lags, strict=True)})
        show(metrics.GROUP_LAG_SUM, _by_topic(places, records))
        show(metrics.GROUP_OFFSET_SUM, _by_topic(places, [max(0, offset) for offset in offsets]))
        show(metrics.GROUP_MEMBERS, {(state.group,): state.members for state in self.last.states})
        show(metrics.GROUP_STALLED_SECONDS, {(group,): seconds for group, seconds in self.stalled.items()})

    def _show_topics(self) -> None:
        partitions, show = self.last.partitions, self._board.show
        places = {(there.topic, str(there.partition)): there for there in partitions}
        show(metrics.BROKERS, {(): len(self.last.brokers)})
        show(metrics.BROKER_INFO, {(str(number), address): 1 for number, address in self.last.brokers})
        show(metrics.TOPIC_PARTITIONS, _by_topic([(there.topic, "") for there in partitions], [1] * len(partitions)))
        show(metrics.TOPIC_END, {place: there.end for place, there in places.items()})
        show(metrics.TOPIC_LOW, {place: there.low for place, there in places.items()})
        show(metrics.PARTITION_LEADER, {place: there.leader for place, there in places.items()})
        show(metrics.PARTITION_REPLICAS, {place: len(there.replicas) for place, there in places.items()})
        show(metrics.PARTITION_IN_SYNC, {place: there.in_sync for place, there in places.items()})
        show(metrics.PARTITION_PREFERRED, {place: there.leader == there.replicas[0] for place, there in places.items()})
        show(
            metrics.PARTITION_UNDER_REPLICATED,
            {place: there.in_sync < len(there.replicas) for place, there in places.items()},
        )
        show(metrics.DEAD_LETTERS, {(topic,): count for topic, count in self.letters().items()})


class _Board:
    """What is shown: of each gauge the series that were given last, and no others."""

    def __init__(self) -> None:
        self._shown: dict[Gauge, set[Labels]] = {}

    def show(self, gauge: Gauge, values: Mapping[Labels, float]) -> None:
        """Set these series and let go of those that are no more."""
        before = self._shown.get(gauge, set())
        for labels in before - values.keys():
            if labels:
                gauge.remove(*labels)
            else:
                REGISTRY.unregister(gauge)
        for labels, value in values.items():
            (gauge.labels(*labels) if labels else gauge).set(value)
        if () in values.keys() - before:
            REGISTRY.register(gauge)
        self._shown[gauge] = set(values)

    def clear(self) -> None:
        """Let go of every series."""
        for gauge in self._shown:
            self.show(gauge, {})


def _by_topic(places: Sequence[Labels], values: Sequence[float]) -> dict[Labels, float]:
    """Return the sums over partitions, which are the last label."""
    sums: dict[Labels, float] = {}
    for place, value in zip(places, values, strict=True):
        sums[place[:-1]] = sums.get(place[:-1], 0) + value
    return sums
