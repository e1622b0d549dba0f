"""What the monitor's page shows: tasks and their calls, roles and their lag, dead letters. No numbers, no names.

The database is asked when somebody looks, at most every two seconds, and only about the tasks that moved last. Where a
part does not answer the page shows what was known last, and says so.
"""

import threading
from importlib import resources
from typing import Any

import orjson

from runtime import metrics
from runtime.clock import Clock
from runtime.errors import RetryableError
from runtime.lag import GroupState, Health, health_of
from runtime.logs import get_logger
from runtime.monitor import BLIND_SECONDS, MEASURE_SECONDS, Monitor
from runtime.postgres import Database
from runtime.service import Page, Service
from runtime.sql import statement

FRESH_SECONDS = 2.0
LATE_SECONDS = 900.0  # as in the alert CallstreamListingOld
TASKS = 20
COLUMNS = ("task_id", "state", "leads", "unassigned", "waiting", "calling", "succeeded", "failed", "cancelled",
           "interested", "not_interested", "last_update")  # fmt: skip
GROUP_PREFIX = "callstream-"

log = get_logger(__name__)


class OldestListing:
    """How long ago the task that waits longest for a listing had its last one, while it is called.

    Asked beside the monitor's own loop: a database that stalls must not make Kafka look away.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.seconds = 0.0

    def run(self, service: Service) -> None:
        """Ask every few seconds until the service stops."""
        while not service.stopping.is_set():
            try:
                self.measure()
            except RetryableError as error:
                log.warning("listing.unmeasured", error=str(error))
            service.wait(MEASURE_SECONDS)

    def measure(self) -> None:
        """Ask the database and set the metric; raises RetryableError where it is away."""
        with self._database.transaction() as connection:
            row = connection.execute(statement("cli", "oldest_listing")).fetchone()
        self.seconds = row[0] if row else 0.0
        metrics.OLDEST_LISTING.set(self.seconds)


class Overview:
    """Gathers the page's data; safe to be asked from many threads."""

    def __init__(self, database: Database, monitor: Monitor, listing: OldestListing, clock: Clock) -> None:
        self._database = database
        self._monitor = monitor
        self._listing = listing
        self._clock = clock
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._tasks: list[dict[str, Any]] = []
        self._problem: str | None = None

    def pages(self) -> dict[str, Page]:
        """Return the page and its data by path."""
        html = resources.files("cli").joinpath("overview.html").read_bytes()
        return {
            "/": Page("text/html; charset=utf-8", lambda: html),
            "/overview.json": Page("application/json", lambda: orjson.dumps(self.as_dict())),
        }

    def as_dict(self) -> dict[str, Any]:
        """Return everything that the page shows; what does not answer is shown as it was known last."""
        with self._lock:
            self._refresh()
            tasks, problem = self._tasks, self._problem
        problems = {"database": f"Tasks are old: {problem}."} if problem else {}
        if self._is_blind():
            problems["kafka"] = f"Roles are old: Kafka has not answered for {self._monitor.age():.0f} s."
        return {
            "at": self._clock.now(),
            "problems": list(problems.values()),
            "old": list(problems),
            "tasks": tasks,
            "funnel": funnel_of(tasks),
            "roles": [self._role(state) for state in self._monitor.last.states],
            "dead_letters": [{"topic": topic, "letters": n} for topic, n in self._monitor.letters().items() if n],
        }

    def _role(self, state: GroupState) -> dict[str, Any]:
        """Return what is known of the role whose group this is: a role works where its group does."""
        now, role = self._clock.now(), state.group.removeprefix(GROUP_PREFIX)
        lags = [lag for lag in self._monitor.last.lags if lag.group == state.group]
        health, words = health_of(state, self._monitor.stalled.get(state.group, 0))
        if self._is_blind():
            return {"role": role, "health": Health.UNKNOWN, "words": "not known", "records": None, "seconds": None}
        if role == "poll" and health is Health.WORKING and self._listing.seconds > LATE_SECONDS:
            health, words = Health.STUCK, f"last listing {self._listing.seconds / 60:.0f} min ago"
        return {
            "role": role,
            "health": health,
            "words": words,
            "records": sum(lag.records for lag in lags),
            "seconds": round(max((lag.seconds(now) for lag in lags), default=0)),
        }

    def _is_blind(self) -> bool:
        return self._monitor.age() > BLIND_SECONDS

    def _refresh(self) -> None:
        now = self._clock.monotonic()
        if now - self._read_at < FRESH_SECONDS:
            return
        try:
            with self._database.transaction() as connection:
                rows = connection.execute(statement("cli", "recent_tasks"), {"limit": TASKS}).fetchall()
            self._tasks = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
            self._problem = None
        except RetryableError as error:
            self._problem = str(error)
        self._read_at = self._clock.monotonic()


def funnel_of(tasks: list[dict[str, Any]]) -> dict[str, int]:
    """Return how far the leads of some tasks have come, each stage a part of the one before."""
    ended = sum(task["succeeded"] + task["failed"] + task["cancelled"] for task in tasks)
    calling = sum(task["calling"] for task in tasks)
    leads = sum(task["leads"] for task in tasks)
    return {
        "created": leads,
        "assigned": leads - sum(task["unassigned"] for task in tasks),
        "calling or ended": calling + ended,
        "ended": ended,
        "interested": sum(task["interested"] for task in tasks),
    }
