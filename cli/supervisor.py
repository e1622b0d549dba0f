"""Keeps roles running, each in a process of its own: started again with growing pauses, ended together.

A role that leaves with status 2 or 3 says that starting it again would not help; it stays down and the others go on.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType

from cli.role import EXIT_FATAL, EXIT_SETTINGS
from runtime.clock import Clock
from runtime.logs import get_logger

PROCESSES = {"stream": ("changes", "followups")}
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
HEALTHY_SECONDS = 30.0
GRACE_SECONDS = 17.0
LOOK_SECONDS = 0.1

log = get_logger(__name__)


@dataclass(frozen=True)
class Plan:
    """One process: which entry of `cli.roles` it runs and on which port it shows itself."""

    process: str
    port: int


def plan(roles: Sequence[str], first_port: int) -> list[Plan]:
    """Give each role its port in the order named; a role's further processes take the ports after all of them."""
    first = [Plan(PROCESSES.get(role, (role,))[0], first_port + place) for place, role in enumerate(roles)]
    further = [process for role in roles for process in PROCESSES.get(role, (role,))[1:]]
    return first + [Plan(process, first_port + len(roles) + place) for place, process in enumerate(further)]


def pause_after(lived: float, previous: float) -> float:
    """Return how long to wait before the next start of a process that lived for so long."""
    return FIRST_PAUSE if lived >= HEALTHY_SECONDS else min(LONGEST_PAUSE, previous * 2)


class Keeper:
    """Starts one process, and starts it again when it has ended."""

    def __init__(self, plan: Plan, clock: Clock) -> None:
        self._plan = plan
        self._clock = clock
        self._pause = FIRST_PAUSE / 2
        self._start_at = clock.monotonic()
        self._started_at = 0.0
        self._child: subprocess.Popen[bytes] | None = None
        self.gave_up = False

    def look(self) -> None:
        """Start the process where it is time; notice its end."""
        now = self._clock.monotonic()
        if self._child is None:
            if not self.gave_up and now >= self._start_at:
                self._started_at = now
                self._child = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                    [sys.executable, "-m", "cli.role", self._plan.process, str(os.getpid())],
                    env=os.environ | {"CALLSTREAM_HTTP_PORT": str(self._plan.port)},
                )
        elif (status := self._child.poll()) is not None:
            self._child = None
            self._pause = pause_after(now - self._started_at, self._pause)
            self._start_at = now + self._pause
            self.gave_up = status in {EXIT_SETTINGS, EXIT_FATAL}
            log.warning("process.ended", process=self._plan.process, status=status, gave_up=self.gave_up)

    def terminate(self) -> None:
        """Ask the process to end."""
        if self._child is not None:
            self._child.terminate()

    def wait(self, deadline: float) -> None:
        """Wait for the end, and enforce it at the deadline."""
        if self._child is None:
            return
        try:
            self._child.wait(max(0.0, deadline - self._clock.monotonic()))
        except subprocess.TimeoutExpired:
            log.warning("process.killed", process=self._plan.process)
            self._child.kill()
            self._child.wait()


def supervise(plans: Sequence[Plan], clock: Clock) -> bool:
    """Keep all processes running until SIGTERM or SIGINT; returns False where all of them gave up instead."""
    stopping = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    keepers = [Keeper(plan, clock) for plan in plans]
    try:
        while not stopping.is_set():
            for keeper in keepers:
                keeper.look()
            if all(keeper.gave_up for keeper in keepers):
                return False
            stopping.wait(LOOK_SECONDS)
    finally:
        for keeper in keepers:
            keeper.terminate()
        deadline = clock.monotonic() + GRACE_SECONDS
        for keeper in keepers:
            keeper.wait(deadline)
    return True
