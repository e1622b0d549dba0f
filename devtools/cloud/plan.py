"""What will become of a job, drawn once from the seed and its reference id.

A plan is a list of calls (each after a wait) and how the job ends. It holds lengths, not instants: `timeline` lays it
on the clock. Waits shrink with the speed, calls do not, so that a call's `Duration` is always real seconds.
"""

import random
import re
from dataclasses import dataclass
from typing import Literal

FinalStatus = Literal["Succeeded", "Failed", "Cancelled"]
JobStatus = Literal["Scheduling", "Executing", "Paused", "Succeeded", "Failed", "Cancelled"]
Intent = Literal[0, 1, 2]

UNKNOWN: Intent = 0
INTERESTED: Intent = 1
NOT_INTERESTED: Intent = 2
MAX_ATTEMPTS = 3

VALID_PHONE = re.compile(r"\+?\d{5,20}")
UNANSWERED = ("NoAnswer", "NoAnswer", "Busy", "NotConnected", "PoweredOff")
ANSWERED = ("SucceededFinish", "SucceededFinish", "SucceededClientHangUp", "SucceededTransferByIntent")


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How quickly jobs live: first calls start within `spread_seconds`, and `speed` 2.0 halves every wait."""

    speed: float = 1.0
    spread_seconds: float = 8.0

    def __post_init__(self) -> None:
        """Refuse a pace at which nothing would ever happen."""
        if self.speed <= 0 or self.spread_seconds < 0:
            raise ValueError("speed must be above 0, spread_seconds not below 0")

    def wait_ms(self, seconds: float) -> int:
        """Return how long a wait of `seconds` at speed 1 lasts."""
        return int(seconds * 1000 / self.speed)


@dataclass(frozen=True, kw_only=True)
class Step:
    """One call: it starts `wait_ms` after the step before and lasts whole `seconds`."""

    wait_ms: int
    lead_ms: int
    seconds: int
    status: str

    @property
    def connected(self) -> bool:
        """Whether a person answered, so that there is a conversation and a recording."""
        return self.status.startswith("Succeeded")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All calls of a job and its end; `rest_ms` passes between the last call and a cancellation."""

    steps: tuple[Step, ...]
    status: FinalStatus
    failure_reason: str | None = None
    intent: Intent = UNKNOWN
    rest_ms: int = 0


def draw_plan(seed: int, reference_id: str, phone: str, pace: Pace) -> Plan:
    """Return the one plan of this reference id: about 60% succeed, 35% fail, 5% are cancelled by "the staff".

    A phone number that is no number fails in its only call as EmptyNumber.
    """
    draw = _Draw(random.Random(f"{seed}/plan/{reference_id}"), pace)
    if VALID_PHONE.fullmatch(phone) is None:
        return draw.dead("EmptyNumber")
    roll = draw.rng.random()
    if roll < 0.60:
        return draw.succeeded()
    if roll < 0.78:
        return draw.unanswered()
    if roll < 0.87:
        return draw.cut_short()
    if roll < 0.95:
        return draw.dead("OutOfService")
    return draw.cancelled()


class _Draw:
    """The ways in which a job can go; each takes from the random stream what it needs."""

    def __init__(self, rng: random.Random, pace: Pace) -> None:
        self.rng = rng
        self._pace = pace
        self._first = True

    def succeeded(self) -> Plan:
        failed = self.rng.choices((0, 1, 2), weights=(65, 25, 10))[0]
        steps = (*self._missed(failed), self._step(self.rng.choice(ANSWERED), (2, 4)))
        intent = self.rng.choice((UNKNOWN, INTERESTED, NOT_INTERESTED))
        return Plan(steps=steps, status="Succeeded", intent=intent)

    def unanswered(self) -> Plan:
        return Plan(steps=self._missed(MAX_ATTEMPTS), status="Failed", failure_reason="NoAnswer")

    def cut_short(self) -> Plan:
        """A person answered, the call broke off: a conversation, a recording, and yet a failed job."""
        steps = (*self._missed(self.rng.randint(0, 1)), self._step("SucceededError", (1, 2)))
        return Plan(steps=steps, status="Failed", failure_reason="CallFailed")

    def dead(self, reason: str) -> Plan:
        return Plan(steps=(self._step(reason, (1, 1)),), status="Failed", failure_reason=reason)

    def cancelled(self) -> Plan:
        steps = self._missed(self.rng.randint(0, 1))
        return Plan(steps=steps, status="Cancelled", rest_ms=self._wait())

    def _missed(self, count: int) -> tuple[Step, ...]:
        return tuple(self._step(self.rng.choice(UNANSWERED), (1, 3)) for _ in range(count))

    def _step(self, status: str, seconds: tuple[int, int]) -> Step:
        wait, lead = self._wait(), self.rng.choice((0, 0, 40, 350))
        return Step(wait_ms=wait, lead_ms=lead, seconds=self.rng.randint(*seconds), status=status)

    def _wait(self) -> int:
        least, most = (0.0, self._pace.spread_seconds) if self._first else (1.0, 3.0)
        self._first = False
        return self._pace.wait_ms(self.rng.uniform(least, most))
