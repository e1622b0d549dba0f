"""The monitor: publishes the lag of every group as metrics, from committed offsets, until a signal comes."""

from runtime import metrics
from runtime.clock import Clock
from runtime.errors import RetryableError
from runtime.lag import LagMeter, PartitionLag
from runtime.logs import get_logger
from runtime.service import Service

MEASURE_SECONDS = 2.0

log = get_logger(__name__)


class Monitor:
    """Measures every few seconds; while the broker is away the last values stay and readiness says so."""

    def __init__(self, meter: LagMeter, clock: Clock) -> None:
        self._meter = meter
        self._clock = clock
        self._has_measured = False

    def has_measured(self) -> bool:
        """Return whether the last look succeeded."""
        return self._has_measured

    def run(self, service: Service) -> None:
        """Measure until the service stops."""
        while not service.stopping.is_set():
            service.health.beat()
            try:
                for lag in self._meter.measure():
                    self._export(lag)
                self._has_measured = True
            except RetryableError as error:
                self._has_measured = False
                log.warning("lag.unreadable", error=str(error))
            service.wait(MEASURE_SECONDS)
        self._meter.close()

    def _export(self, lag: PartitionLag) -> None:
        place = (lag.topic, str(lag.partition))
        metrics.GROUP_LAG.labels(lag.group, *place).set(lag.records)
        metrics.GROUP_LAG_SECONDS.labels(lag.group, *place).set(lag.seconds(self._clock.now()))
        metrics.GROUP_OFFSET.labels(lag.group, *place).set(-1 if lag.committed is None else lag.committed)
        metrics.TOPIC_END.labels(*place).set(lag.end)
        metrics.TOPIC_LOW.labels(*place).set(lag.low)
