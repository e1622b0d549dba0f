"""Where a job stands at an instant: a pure function of its plan, its creation, the orders given so far, and now.

An order never changes the past: a pause stops waiting (a call in progress goes on to its end), a cancellation ends the
job and cuts a call in progress, hurrying takes away every wait that is left.
"""

from dataclasses import dataclass, replace

from devtools.cloud.plan import FinalStatus, JobStatus, Plan


@dataclass(frozen=True, kw_only=True)
class Pause:
    """From `since_ms` until `until_ms`, or until somebody resumes."""

    since_ms: int
    until_ms: int | None = None


@dataclass(frozen=True, kw_only=True)
class Orders:
    """What people told this job; pauses are disjoint and ordered."""

    pauses: tuple[Pause, ...] = ()
    cancelled_ms: int | None = None
    hurried_ms: int | None = None

    def suspend(self, now_ms: int) -> "Orders":
        """Return the orders with a pause that begins now, unless one is open."""
        if self.open_pause:
            return self
        return replace(self, pauses=(*self.pauses, Pause(since_ms=now_ms)))

    def resume(self, now_ms: int) -> "Orders":
        """Return the orders with the open pause ended, if there is one."""
        if not self.open_pause:
            return self
        return replace(self, pauses=(*self.pauses[:-1], replace(self.pauses[-1], until_ms=now_ms)))

    def cancel(self, now_ms: int) -> "Orders":
        """Return the orders with a cancellation; the first one counts."""
        return self if self.cancelled_ms is not None else replace(self, cancelled_ms=now_ms)

    def hurry(self, now_ms: int) -> "Orders":
        """Return the orders under which nothing waits any more, pauses included."""
        resumed = self.resume(now_ms)
        return resumed if self.hurried_ms is not None else replace(resumed, hurried_ms=now_ms)

    @property
    def open_pause(self) -> bool:
        """Whether the job waits for somebody to resume it."""
        return bool(self.pauses) and self.pauses[-1].until_ms is None


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One call on the clock; it is known to the cloud from `started_ms` on and over at `ended_ms`."""

    number: int
    planed_ms: int
    started_ms: int
    ended_ms: int
    status: str

    @property
    def seconds(self) -> int:
        """The whole seconds of the call."""
        return (self.ended_ms - self.started_ms) // 1000

    @property
    def connected(self) -> bool:
        """Whether there is a recording once the call is over."""
        return self.status.startswith("Succeeded")


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """The whole life of a job, as far as the orders let it be known; `ended_ms` is None while a pause is open."""

    created_ms: int
    orders: Orders
    attempts: tuple[Attempt, ...]
    ended_ms: int | None
    status: FinalStatus
    failure_reason: str | None


@dataclass(frozen=True, kw_only=True)
class State:
    """What the cloud shows of a job at one instant; `ended_ms` is set once the status is final."""

    status: JobStatus
    failure_reason: str | None
    attempts: tuple[Attempt, ...]
    changed_ms: int
    ended_ms: int | None

    @property
    def final(self) -> bool:
        """Whether this job will never change again."""
        return self.ended_ms is not None


def unfold(plan: Plan, created_ms: int, orders: Orders) -> Timeline:
    """Lay the plan on the clock under the orders given so far."""
    attempts: list[Attempt] = []
    at: int | None = created_ms
    for number, step in enumerate(plan.steps):
        started = _ready(at, step.wait_ms, orders)
        if at is None or started is None:
            at = None
            break
        ended, planed = started + step.seconds * 1000, max(at, started - step.lead_ms)
        attempts.append(
            Attempt(number=number, planed_ms=planed, started_ms=started, ended_ms=ended, status=step.status)
        )
        at = ended
    if plan.rest_ms:
        at = _ready(at, plan.rest_ms, orders)
    whole = Timeline(
        created_ms=created_ms,
        orders=orders,
        attempts=tuple(attempts),
        ended_ms=at,
        status=plan.status,
        failure_reason=plan.failure_reason,
    )
    return whole if orders.cancelled_ms is None else _cut(whole, orders.cancelled_ms)


def state_at(timeline: Timeline, now_ms: int) -> State:
    """Return what is to be seen at `now_ms`; not before the creation."""
    attempts = tuple(attempt for attempt in timeline.attempts if attempt.started_ms <= now_ms)
    final = timeline.ended_ms is not None and timeline.ended_ms <= now_ms
    return State(
        status=timeline.status if final else _open_status(timeline, attempts, now_ms),
        failure_reason=timeline.failure_reason if final else None,
        attempts=attempts,
        changed_ms=_changed(timeline, attempts, now_ms),
        ended_ms=timeline.ended_ms if final else None,
    )


def _open_status(timeline: Timeline, attempts: tuple[Attempt, ...], now_ms: int) -> JobStatus:
    if attempts and now_ms < attempts[-1].ended_ms:
        return "Executing"
    paused = any(p.since_ms <= now_ms and (p.until_ms is None or now_ms < p.until_ms) for p in timeline.orders.pauses)
    return "Paused" if paused else "Scheduling"


def _changed(timeline: Timeline, attempts: tuple[Attempt, ...], now_ms: int) -> int:
    if timeline.ended_ms is not None and timeline.ended_ms <= now_ms:
        return timeline.ended_ms
    moments = [timeline.created_ms]
    for attempt in attempts:
        moments += (attempt.started_ms, attempt.ended_ms)
    for pause in timeline.orders.pauses:
        moments += (pause.since_ms, pause.until_ms or pause.since_ms)
    return max(moment for moment in moments if moment <= max(now_ms, timeline.created_ms))


def _ready(at_ms: int | None, wait_ms: int, orders: Orders) -> int | None:
    """Return when a wait that begins at `at_ms` is over, pauses not counted; None while a pause is open."""
    if at_ms is None:
        return None
    ready = _after_pauses(at_ms, wait_ms, orders.pauses)
    if orders.hurried_ms is None:
        return ready
    hurried = max(at_ms, orders.hurried_ms)
    return hurried if ready is None else min(ready, hurried)


def _after_pauses(at_ms: int, wait_ms: int, pauses: tuple[Pause, ...]) -> int | None:
    position, left = at_ms, wait_ms
    for pause in pauses:
        if pause.until_ms is not None and pause.until_ms <= position:
            continue
        if position + left <= pause.since_ms:
            break
        left -= max(0, pause.since_ms - position)
        if pause.until_ms is None:
            return None
        position = pause.until_ms
    return position + left


def _cut(whole: Timeline, at_ms: int) -> Timeline:
    """End a life at `at_ms` by a cancellation, unless it was over before."""
    if whole.ended_ms is not None and whole.ended_ms <= at_ms:
        return whole
    kept = tuple(
        attempt if attempt.ended_ms <= at_ms else replace(attempt, ended_ms=at_ms, status="Cancelled")
        for attempt in whole.attempts
        if attempt.started_ms < at_ms
    )
    return replace(whole, attempts=kept, ended_ms=at_ms, status="Cancelled", failure_reason=None)
