"""The demo's play: leads and start requests go in, and what became of them is judged at the end."""

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import psycopg
from psycopg.rows import dict_row

from devtools.audit import Row, count_statements, differences, read_rows
from devtools.scenario import leads, tasks
from devtools.stage import Stage
from runtime.clock import Clock
from runtime.kafka import Publisher, outgoing
from runtime.lag import PartitionLag
from runtime.lag_meter import LagMeter
from runtime.settings import KafkaSettings
from schemas.ids import RequestId, TaskId
from schemas.jobs import ENDED_STATUSES
from schemas.tasks import StartRequested
from schemas.topics import ALL, LEAD_ADDED, START_REQUESTED

FOLLOWED_STATUSES = frozenset({"Succeeded", "Failed"})
SINK = "callstream-sink"
WRITES = ("insert_leads", "set_job_ids", "apply_statuses", "apply_recordings", "apply_follow_ups")


@dataclass(frozen=True, kw_only=True)
class TaskProgress:
    """How far one task is: counts of leads that have come so far at least."""

    task_id: str
    leads: int
    assigned: int
    calling: int
    ended: int
    followed_up: int


@dataclass(frozen=True, kw_only=True)
class Moment:
    """What a person sees while it runs."""

    progress: Sequence[TaskProgress]
    lag: Sequence[PartitionLag]

    def is_over(self, expected: int) -> bool:
        """Return whether every lead has ended and every group has read everything."""
        ended = sum(task.ended for task in self.progress)
        return ended == expected and not any(entry.records for entry in self.lag)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The end: what the contract's `--json` shows, and the differences behind a failed check."""

    leads: int
    tasks: int
    by_status: Mapping[str, int]
    by_interest: Mapping[str, int]
    statements: Mapping[str, int]
    delays: Sequence[float]
    duration_seconds: float
    checks: Mapping[str, bool]
    problems: Sequence[str]

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return all(self.checks.values())

    @property
    def statements_per_1000_leads(self) -> float | None:
        """Statements that wrote rows, by the server's log; None where the server is not ours to read the log of."""
        return round(sum(self.statements.values()) * 1000 / self.leads, 1) if self.statements else None

    def delay(self, percent: int) -> float | None:
        """Return the percentile of the seconds from a call's end to its committed row."""
        if not self.delays:
            return None
        twice = [*self.delays, *self.delays] if len(self.delays) == 1 else self.delays  # it takes two at least
        return round(statistics.quantiles(twice, n=100, method="inclusive")[percent - 1], 3)

    def as_dict(self) -> dict[str, object]:
        """Return what `--json` prints."""
        return {
            "ok": self.ok,
            "leads": self.leads,
            "tasks": self.tasks,
            "by_status": dict(self.by_status),
            "by_interest": dict(self.by_interest),
            "statements_per_1000_leads": self.statements_per_1000_leads,
            "statements": dict(self.statements),
            "delay_seconds": {"p50": self.delay(50), "p99": self.delay(99)},
            "duration_seconds": round(self.duration_seconds, 1),
            "checks": dict(self.checks),
            "problems": list(self.problems),
        }


class Performance:
    """One run of the story on a stage whose roles are running."""

    def __init__(
        self, stage: Stage, *, lead_count: int, task_count: int, seed: int, groups: Mapping[str, tuple[str, ...]]
    ) -> None:
        self._stage = stage
        self._task_ids = tasks(task_count, seed=seed)
        self.leads = list(leads(self._task_ids, lead_count, seed=seed))
        self._kafka = KafkaSettings(bootstrap_servers=stage.bootstrap_servers)
        self._meter = LagMeter(self._kafka, groups)
        self._fell_behind = False

    def begin(self) -> None:
        """Emit every lead and ask for every task, as the CRM does."""
        publisher = Publisher(self._kafka)
        try:
            publisher.publish(outgoing(LEAD_ADDED, lead, source="demo") for lead in self.leads)
            publisher.publish(
                outgoing(
                    START_REQUESTED, StartRequested(task_id=task, request_id=RequestId(f"start-{task}")), source="demo"
                )
                for task in self._task_ids
            )
        finally:
            publisher.close()

    def watch(self, *, clock: Clock, seconds: float) -> Iterator[Moment]:
        """Yield how far it is until all is over and rows equal the cloud, or the time is up."""
        deadline = clock.monotonic() + seconds
        while clock.monotonic() < deadline:
            moment = Moment(progress=read_progress(self._stage.dsn, self._task_ids), lag=self._meter.measure())
            self._fell_behind |= any(lag.committed is not None and lag.committed < lag.low for lag in moment.lag)
            yield moment
            if moment.is_over(len(self.leads)) and not differences(self._rows(), self._stage.cloud.truth()):
                return

    def judge(self, *, duration_seconds: float) -> Summary:
        """Compare every row with the cloud; call after the roles have drained."""
        rows, truth = self._rows(), self._stage.cloud.truth()
        problems = differences(rows, truth)
        statuses = Counter(row.columns["call_status"] or "none" for row in rows)
        references = {lead.reference for lead in self.leads}
        followed = [row for row in rows if row.columns["call_status"] in FOLLOWED_STATUSES]
        checks = {
            "every_lead_has_one_row": {row.reference_id for row in rows} == references and len(rows) == len(references),
            "every_lead_is_called_once": len(truth) == len(references) and not self._stage.cloud.duplicates(),
            "every_call_has_ended": set(statuses) <= ENDED_STATUSES,
            "every_row_equals_the_cloud": not problems,
            "every_ended_call_is_followed_up": self._follow_ups()
            == sorted(str(row.leads_follow_id) for row in followed),
            "nothing_is_parked": self._parked() == 0,
            "no_dead_letters": self._dead_letters() == 0,
            "no_record_was_dropped": not self._fell_behind,
        }
        postgres = self._stage.postgres
        counted = count_statements(postgres.log_path, SINK) if postgres else Counter[str]()
        return Summary(
            leads=len(rows),
            tasks=len(self._task_ids),
            by_status=statuses,
            by_interest=Counter("none" if row.is_interested is None else str(row.is_interested) for row in rows),
            statements={name: counted[name] for name in WRITES if counted[name]},
            delays=[row.delay_seconds for row in rows if row.delay_seconds is not None],
            duration_seconds=duration_seconds,
            checks=checks,
            problems=problems[:20],
        )

    def close(self) -> None:
        """Close the clients."""
        self._meter.close()

    def _rows(self) -> list[Row]:
        ours = set(self._task_ids)
        return [row for row in read_rows(self._stage.dsn) if row.task_id in ours]

    def _follow_ups(self) -> list[str]:
        """Return the ids of the follow-up records, of which each ended call has one."""
        with psycopg.connect(self._stage.dsn, application_name="demo") as connection:
            found = connection.execute(
                "select leads_follow_id from leads_follow where task_id = any(%s) order by 1", (list(self._task_ids),)
            )
            return sorted(row[0] for row in found)

    def _parked(self) -> int:
        with psycopg.connect(self._stage.dsn, application_name="demo") as connection:
            row = connection.execute("select count(*) from parked_records").fetchone()
        return int(row[0]) if row else 0

    def _dead_letters(self) -> int:
        meter = LagMeter(self._kafka, {"demo-letters": tuple(topic.dead_letters for topic in ALL)})
        try:
            return sum(entry.end - entry.low for entry in meter.measure())
        finally:
            meter.close()


def read_progress(dsn: str, task_ids: Sequence[TaskId]) -> list[TaskProgress]:
    """Return how far each task is."""
    with psycopg.connect(dsn, row_factory=dict_row, application_name="demo") as connection:
        found = connection.execute(
            """
            select task_id, count(*) as leads, count(*) filter (where call_job_id <> '') as assigned,
                count(*) filter (where call_status = 'Executing') as calling,
                count(*) filter (where settled_at is not null) as ended,
                count(*) filter (where leads_follow_id is not null) as followed_up
            from leads_task_list where task_id = any(%s) group by task_id order by task_id
            """,
            (list(task_ids),),
        ).fetchall()
    return [TaskProgress(**row) for row in found]
