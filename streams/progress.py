"""Whether a worker gets on, by what the broker knows of it: what a worker says of itself freezes when it is stuck."""

from collections.abc import Callable, Collection, Mapping
from typing import Final

from confluent_kafka import KafkaException, TopicPartition

from runtime.clock import Clock
from runtime.kafka import make_observer
from runtime.settings import KafkaSettings

PATIENCE_SECONDS: Final = 60.0
TIMEOUT_SECONDS: Final = 2.0

Place = tuple[str, int]


class Stillness:
    """Since when which partition has had something to do without a step. Pure."""

    def __init__(self) -> None:
        self._since: dict[Place, tuple[int, float]] = {}

    def seconds(self, offsets: Mapping[Place, tuple[int, int]], now: float) -> float:
        """Take the committed offset and the end of each partition; return for how long the worst one has stood."""
        behind = {place: committed for place, (committed, end) in offsets.items() if committed < end}
        self._since = {
            place: self._since[place]
            if place in self._since and self._since[place][0] == committed
            else (committed, now)
            for place, committed in behind.items()
        }
        return max((now - since for _, since in self._since.values()), default=0.0)


class Progress:
    """Asks the broker how far a group is in the partitions that are this worker's; a member of no group itself."""

    def __init__(
        self, settings: KafkaSettings, group: str, assigned: Callable[[], Collection[Place]], clock: Clock
    ) -> None:
        self._observer = make_observer(settings, group)
        self._assigned = assigned
        self._clock = clock
        self._stillness = Stillness()

    def is_made(self) -> bool:
        """Return whether every partition with something to do has got on within a minute; False without a broker."""
        try:
            return self._stillness.seconds(self._offsets(), self._clock.monotonic()) < PATIENCE_SECONDS
        except KafkaException:
            return False

    def _offsets(self) -> dict[Place, tuple[int, int]]:
        places = [TopicPartition(*place) for place in self._assigned()]
        found = {}
        for place in self._observer.committed(places, timeout=TIMEOUT_SECONDS) if places else ():
            low, end = self._observer.get_watermark_offsets(place, timeout=TIMEOUT_SECONDS)
            found[place.topic, place.partition] = (max(place.offset, low), end)
        return found
