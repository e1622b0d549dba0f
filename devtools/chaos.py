"""Chaos: a seeded sequence of blows at everything that runs, each mended after a moment. Pure but for the blows.

The sequence depends on the seed alone, so a run that failed can be had again, give or take the machine's timing.
"""

import random
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

import psutil

from devtools.apache_kafka import ApacheKafka
from devtools.cloud.faults import FaultKind
from devtools.cloud.process import CloudSimulator
from devtools.postgres import EmbeddedPostgres
from devtools.stage import Roles

PROCESSES = ("poll", "start", "changes", "followups", "record", "sink", "monitor")
# Blows at processes are the most frequent, because each is over in a second; servers take longer to come back.
WEIGHTS = {"kill": 10, "postgres": 2, "kafka": 1, "outage": 2, "throttling": 2, "unclear": 1}
UNCLEAR: tuple[FaultKind, ...] = ("drop-after", "half", "late-drop", "success-false")

# What a process has loaded and filled by then is its size; what comes on top is growth.
WARM_SECONDS = 60.0

Sleep = Callable[[float], None]


class Growth:
    """How much more memory processes hold than when they had run for a minute; the dead keep their last word."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, int], float] = {}
        self._warm: dict[tuple[str, int], int] = {}
        self._last: dict[tuple[str, int], int] = {}

    def observe(self, memory: Mapping[tuple[str, int], int], now: float) -> None:
        """Take the resident bytes of each process at `now` of a steady clock."""
        for process, size in memory.items():
            if now - self._seen.setdefault(process, now) >= WARM_SECONDS:
                self._warm.setdefault(process, size)
            self._last[process] = size

    def largest(self) -> dict[str, int]:
        """Return the most bytes that any process of each role held when it was last looked at."""
        return self._by_role(self._last)

    def grown(self) -> dict[str, int]:
        """Return by role the most bytes that a process came to hold beyond its size after a minute."""
        return self._by_role({process: self._last[process] - size for process, size in self._warm.items()})

    @staticmethod
    def _by_role(sizes: Mapping[tuple[str, int], int]) -> dict[str, int]:
        return {role: max(size for (name, _), size in sizes.items() if name == role) for role in {r for r, _ in sizes}}


class Chaos:
    """What may be struck, and the next blow; `struck` counts them."""

    def __init__(
        self,
        *,
        seed: int,
        roles: Roles,
        kafka: ApacheKafka,
        postgres: EmbeddedPostgres,
        cloud: CloudSimulator,
        sleep: Sleep,
    ) -> None:
        self.struck: Counter[str] = Counter()
        self._chance = random.Random(seed)
        self._roles = roles
        self._kafka = kafka
        self._postgres = postgres
        self._cloud = cloud
        self._sleep = sleep

    def strike(self) -> str:
        """Strike once, wait until the part is back where it is not a role, and return what was struck."""
        blow = self._chance.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        away = self._chance.uniform(0.5, 4)
        match blow:
            case "kill":
                name = self._chance.choice(PROCESSES)
                blow = f"kill {name}" if self._kill(name) else "missed"
            case "postgres":
                self._postgres.kill()
                self._sleep(away)
                self._postgres.start()
            case "kafka":
                self._kafka.kill()
                self._sleep(away)
                self._kafka.start()
            case "outage":
                with self._spoilt("unavailable"):
                    self._sleep(away)
            case "throttling":
                with self._spoilt("throttle-retry-after"):
                    self._sleep(away)
            case "unclear":
                self._cloud.add_fault("AssignJobs", self._chance.choice(UNCLEAR), seconds=2)
        self.struck[blow] += 1
        return blow

    def memory(self) -> dict[tuple[str, int], int]:
        """Return the resident bytes of each role's process that runs now, by role and process id."""
        found = {}
        for name, process in self._processes():
            with suppress(psutil.NoSuchProcess):
                found[name, process.pid] = process.memory_info().rss
        return found

    def _kill(self, name: str) -> bool:
        """Kill a role as a machine that dies would; returns whether it was there."""
        victims = [process for found, process in self._processes() if found == name]
        for victim in victims:
            with suppress(psutil.NoSuchProcess):
                victim.send_signal(signal.SIGKILL)
        return bool(victims)

    def _processes(self) -> Iterator[tuple[str, psutil.Process]]:
        for process in psutil.Process(self._roles.pid).children():
            try:
                words = process.cmdline()
            except psutil.NoSuchProcess:
                continue
            yield from ((name, process) for name in PROCESSES if name in words)

    @contextmanager
    def _spoilt(self, kind: FaultKind) -> Iterator[None]:
        """Have the cloud answer every call so."""
        self._cloud.add_fault("*", kind, times=1_000_000)
        try:
            yield
        finally:
            self._cloud.clear_faults()
