"""Audits: walks through all rows, a bounded piece at a time, that find what no event will bring any more.

A walk is shared by all processes that make it: its position is a row in PostgreSQL, the next piece goes to whoever asks
first, and a whole round takes `lap`. A piece is a range of ids, read by the primary key; no audit scans the table. The
piece of a process that dies is looked at in the next round.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from psycopg.rows import kwargs_row

from producers.expander import FINISHED, Expander, FinishedJob
from runtime.clock import Clock, SystemClock
from runtime.errors import CallstreamError
from runtime.logs import get_logger
from runtime.postgres import Database
from runtime.service import Service
from runtime.sql import statement
from schemas.ids import CallJobId, CallTaskId
from schemas.jobs import ENDED_STATUSES

LONGEST_PAUSE: Final = timedelta(seconds=5)
LEAST_PIECE: Final = 5_000
MOST_ASKED: Final = 500
FOLLOW_UP_AGE: Final = timedelta(seconds=60)
ANALYSIS_AGE: Final = timedelta(minutes=5)
FIRST_REMINDER: Final = 60.0
LONGEST_REMINDER: Final = 3_600.0
RECORDING_LAP: Final = timedelta(minutes=5)
RECORDING_PATIENCE: Final = timedelta(days=1)

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Rows with ids above `after`, up to `upto`."""

    after: int
    upto: int


class Walk:
    """One walk through the rows of `leads_task_list`; raises RetryableError while the database is away."""

    def __init__(self, database: Database, name: str, lap: timedelta) -> None:
        self.pause = min(LONGEST_PAUSE, lap / 2)
        self._database = database
        # Half a pause: one process alone must find that its own last piece was long enough ago.
        self._parameters = {"name": name, "pause": self.pause / 2, "share": self.pause / lap, "least": LEAST_PIECE}

    def take(self) -> Piece | None:
        """Return the next piece, None where somebody took one a moment ago."""
        rows = kwargs_row(Piece)
        with self._database.transaction() as connection, connection.cursor(row_factory=rows) as cursor:
            cursor.execute(statement("producers", "audit_begin"), self._parameters)
            return cursor.execute(statement("producers", "audit_take"), self._parameters).fetchone()


class Reminders:
    """Which jobs were asked about, and when each may be asked about again: after pauses that double up to an hour.

    Of one process; another one, or the next, begins anew. Pure; instants are seconds of any clock.
    """

    def __init__(self) -> None:
        self._due: dict[CallJobId, tuple[float, float]] = {}

    def waiting(self, now: float) -> list[CallJobId]:
        """Return the jobs that it is too early for; whatever was not asked about again for long is forgotten."""
        self._due = {job: (due, pause) for job, (due, pause) in self._due.items() if now < due + LONGEST_REMINDER}
        return [job for job, (due, _) in self._due.items() if now < due]

    def note(self, jobs: Iterable[CallJobId], now: float) -> None:
        """Take note that these were asked about."""
        for job in jobs:
            pause = min(2 * self._due[job][1], LONGEST_REMINDER) if job in self._due else FIRST_REMINDER
            self._due[job] = now + pause, pause


class TaskAudits:
    """Finds tasks with open jobs that nobody is going to look at, and finished jobs without a follow-up.

    A row opened again by hand is found in one round, `longest`. A follow-up is missing where its event was lost, or
    parked for too long, or somebody deleted its record; or nobody could analyse. It is asked for less and less often:
    while a model is away, questions would pile up before it.
    """

    def __init__(self, database: Database, expander: Expander, longest: timedelta, clock: Clock | None = None) -> None:
        self._walk = Walk(database, "tasks", longest)
        self._asked = Reminders()
        self._clock = clock or SystemClock()
        self._database = database
        self._expander = expander
        self._longest = longest

    def run(self, service: Service) -> None:
        """Audit until the service stops; outages are waited out."""
        while True:
            try:
                self.audit()
            except CallstreamError as error:
                log.warning("audit.failed", error=str(error))
            if service.wait(self._walk.pause.total_seconds()):
                return

    def audit(self) -> int:
        """Audit the next piece; returns how many follow-ups were asked for, at most 500, the rest in the next round."""
        piece = self._walk.take()
        if piece is None:
            return 0
        bounds = {"after": piece.after, "upto": piece.upto}
        now = self._clock.monotonic()
        wanted = {
            "statuses": list(FINISHED),
            "age": FOLLOW_UP_AGE,
            "again": ANALYSIS_AGE,
            "waiting": self._asked.waiting(now),
            "limit": MOST_ASKED,
        }
        rows = kwargs_row(FinishedJob)
        with self._database.transaction() as connection, connection.cursor(row_factory=rows) as cursor:
            opened = {"ended": sorted(ENDED_STATUSES), "within": self._longest}
            connection.execute(statement("producers", "audit_open"), bounds | opened)
            jobs = cursor.execute(statement("producers", "audit_unfollowed"), bounds | wanted).fetchall()
        if jobs:
            self._expander.ask_again(jobs)
            self._asked.note([job.call_job_id for job in jobs], now)
            log.info("audit.asked", jobs=len(jobs))
        return len(jobs)


class RecordingAudit:
    """Finds answered calls without a recording; each is named after 5, 10, 20, 40 minutes and so on, for a day."""

    def __init__(self, database: Database, lap: timedelta = RECORDING_LAP) -> None:
        self._walk = Walk(database, "recordings", lap)
        self._database = database
        self._lap = lap

    def take(self) -> Sequence[tuple[CallJobId, CallTaskId]]:
        """Return some of the next piece's, at most 500; raises RetryableError while the database is away."""
        piece = self._walk.take()
        if piece is None:
            return ()
        parameters = {
            "after": piece.after,
            "upto": piece.upto,
            "lap": self._lap,
            "patience": RECORDING_PATIENCE,
            "limit": MOST_ASKED,
        }
        with self._database.transaction() as connection:
            found = connection.execute(statement("producers", "audit_unrecorded"), parameters).fetchall()
        return [(CallJobId(job), CallTaskId(call)) for job, call in found]
