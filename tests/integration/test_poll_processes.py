"""The poll role as processes of its own: they share tasks, and one that is killed is replaced; commands as typed."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from devtools.cloud.process import CloudSimulator
from devtools.processes import free_port, spawn, stop, wait_until
from producers.cloud.payloads import Contact, GroupOptions
from producers.poll_store import PollStore
from producers.poller import Poller
from producers.schedule import Hours
from runtime.clock import SystemClock
from runtime.dead_letters import DeadLetterOffice
from runtime.kafka import Publisher
from schemas.ids import CallJobId, JobGroupId, ReferenceId
from schemas.topics import JOBS_POLLED
from tests.fixtures.shells import Rows, client_of, running, settings_of
from tests.fixtures.topics import read_events

TAKEOVER_SECONDS = 30


@dataclass(frozen=True)
class Counts:
    """Nobody is called."""

    by_status: Mapping[str, int]
    working_hours: Sequence[Hours] = ()


@dataclass
class WatchfulCloud:
    """Counts how many calls about a task are under way at once."""

    most: Counter[str] = field(default_factory=Counter)
    looks: Counter[str] = field(default_factory=Counter)
    _now: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def list_jobs(self, ids: Sequence[CallJobId]) -> list[dict[str, Any]]:
        """A slow answer about the one job of a task."""
        (job_id,) = ids
        with self._lock:
            self.looks[job_id] += 1
            self._now[job_id] += 1
            self.most[job_id] = max(self.most[job_id], self._now[job_id])
        time.sleep(0.05)
        with self._lock:
            self._now[job_id] -= 1
        return [{"JobId": job_id, "Status": "Executing"}]

    def describe_job_group(self, _group_id: JobGroupId) -> Counts:
        """Something moves all the time."""
        return Counts({"Executing": 7, "Paused": sum(self.looks.values())})

    def called_since(self, _group_id: JobGroupId, _since: datetime, _limit: int) -> list[CallJobId]:
        """Nobody is asked for."""
        return []


def test_two_pollers_never_look_at_one_task_at_once(topics: str, rows: Rows, publisher: Publisher) -> None:
    """Both have looks, no task has two at a time, and the instants of its pages only grow."""
    for number in range(6):
        rows.execute(
            "insert into call_tasks (task_id, state, job_group_id) values (%s, 'calling', 'group')", f"task-{number}"
        )
        rows.execute(
            "insert into leads_task_list (task_id, leads_id, leads_name, leads_phone, reference_id, call_job_id, page)"
            " values (%s, 'lead', 'n', '1', %s, %s, 0)",
            *(f"task-{number}", f"ref-{number}", f"job-{number}"),
        )
    clouds = WatchfulCloud()
    settings = settings_of(topics, rows.dsn, poll_min_seconds=0.05, poll_max_seconds=1)
    pollers = [
        Poller(PollStore(rows.pool), clouds, publisher, DeadLetterOffice(publisher, "g"), settings, SystemClock())
        for _ in range(2)
    ]
    owners: set[str] = set()
    with (
        running("poll", lambda service: lambda: pollers[0].run(service)),
        running("poll", lambda service: lambda: pollers[1].run(service)),
    ):

        def look() -> bool:
            owners.update(owner for (owner,) in rows.execute("select poll_leased_by from call_tasks") if owner)
            return len(owners) == 2 and min(clouds.looks[f"job-{number}"] for number in range(6)) >= 3

        wait_until(look, seconds=30, what="looks of both")
    assert set(clouds.most.values()) == {1}


@dataclass
class Site:
    """A database, a broker and a cloud with two tasks whose jobs are known, and what roles are told of them."""

    rows: Rows
    topics: str
    cloud: CloudSimulator
    folder: Path
    settings: dict[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """What a process is given."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("CALLSTREAM_", "ALIBABA_"))}
        return kept | {
            "CALLSTREAM_KAFKA_BOOTSTRAP_SERVERS": self.topics,
            "CALLSTREAM_POSTGRES_DSN": self.rows.dsn,
            "ALIBABA_CLOUD_ACCESS_KEY_ID": self.cloud.access_key_id,
            "ALIBABA_CLOUD_ACCESS_KEY_SECRET": self.cloud.access_key_secret,
            "CALLSTREAM_OUTBOUNDBOT_INSTANCE_ID": self.cloud.instance_id,
            "CALLSTREAM_OUTBOUNDBOT_ENDPOINT": self.cloud.endpoint,
            "CALLSTREAM_OUTBOUNDBOT_PROTOCOL": "http",
            "CALLSTREAM_POLL_MIN_SECONDS": "1",
            "CALLSTREAM_HTTP_PORT": str(free_port()),
            "PYTHONPATH": str(Path(__file__).parents[2]),
            **self.settings,
        }

    def assign(self, task: str, count: int) -> list[str]:
        """Have leads assigned, and their rows written as the sink does; returns the job ids by number."""
        client = client_of(self.cloud)
        group = client.create_job_group(task, GroupOptions())
        names = [ReferenceId(f"{task}-{number}") for number in range(count)]
        client.assign_jobs(group, [Contact(reference_id=name, name="n", phone_number="13800000000") for name in names])
        jobs = client.list_group(group)
        self.rows.execute(
            "insert into call_tasks (task_id, state, job_group_id) values (%s, 'calling', %s)", task, group
        )
        for number, name in enumerate(names):
            self.rows.execute(
                "insert into leads_task_list"
                " (task_id, leads_id, leads_name, leads_phone, reference_id, call_job_id, page)"
                " values (%s, %s, 'n', '1', %s, %s, 0)",
                *(task, f"lead-{number}", name, jobs[name][0]),
            )
        return [jobs[name][0] for name in names]

    @contextmanager
    def role(self, name: str) -> Iterator[subprocess.Popen[bytes]]:
        """A role's process."""
        with (self.folder / "roles.log").open("ab") as log:
            child = spawn([sys.executable, "-m", "cli.role", name], stdout=log, cwd=self.folder, env=self.environment())
        try:
            yield child
        finally:
            stop(child)

    def type(self, *words: str) -> tuple[int, str, str]:
        """What a user types, and what comes of it: status, standard output, standard error."""
        command = [sys.executable, "-m", "cli.main", *words]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment(), capture_output=True, text=True, timeout=60, check=False
        )
        return done.returncode, done.stdout, done.stderr

    def owners(self) -> dict[str, str | None]:
        """Who has which task now."""
        return dict(self.rows.execute("select task_id, poll_leased_by from call_tasks"))


@pytest.fixture
def site(whole_topics: str, rows: Rows, cloud: CloudSimulator, tmp_path: Path) -> Site:
    """Everything real, and empty."""
    return Site(rows, whole_topics, cloud, tmp_path)


def test_the_tasks_of_a_killed_poller_are_taken_over(site: Site) -> None:
    """SIGKILL while it waits for the cloud: the other one has looked at its task within 30 s, and nobody before."""
    site.settings["CALLSTREAM_OUTBOUNDBOT_TIMEOUT_SECONDS"] = "120"
    site.assign("task-1", 3)
    site.cloud.add_fault("DescribeJobGroup", "hang-before", seconds=120)
    with site.role("poll") as first:
        wait_until(lambda: site.owners()["task-1"] is not None, seconds=30, what="a lease")
        victim = site.owners()["task-1"]
        wait_until(lambda: bool(site.cloud.calls()["actions"].get("DescribeJobGroup")), seconds=30, what="a call")
        with site.role("poll"):
            time.sleep(2)
            assert site.owners()["task-1"] == victim
            first.send_signal(signal.SIGKILL)
            begun = time.monotonic()
            wait_until(lambda: bool(read_events(site.topics, JOBS_POLLED)), seconds=60, what="a page")
            took = time.monotonic() - begun
    assert took < TAKEOVER_SECONDS, took


def test_rows_come_to_what_the_cloud_says_also_of_a_job_it_does_not_know(site: Site) -> None:
    """Through poller, change detection and sink: ended, `NotExist`, and a row that somebody opened again by hand."""
    site.settings |= {"CALLSTREAM_NOT_EXIST_SECONDS": "3", "CALLSTREAM_POLL_MAX_SECONDS": "3"}
    site.assign("task-1", 5)
    site.rows.execute("update leads_task_list set call_job_id = 'unknown' where leads_id = 'lead-0'")
    site.cloud.finish()
    wanted = {job["job_id"]: job["status"] for job in site.cloud.wait_final()} | {"unknown": "NotExist"}
    count = len(wanted) - 1

    def is_as_wanted() -> bool:
        found = site.rows.execute("select call_job_id, call_status from leads_task_list")
        return len(found) == count and all(wanted[job_id] == status for job_id, status in found)

    with site.role("poll"), site.role("changes"), site.role("sink"):
        wait_until(is_as_wanted, seconds=60, what="every row as the cloud says")
        wait_until(lambda: site.rows.execute("select state from call_tasks") == [("done",)], seconds=30, what="the end")
        site.rows.execute("update leads_task_list set call_status = 'Scheduling' where leads_id = 'lead-1'")
        wait_until(is_as_wanted, seconds=30, what="the opened row as before")


def test_queries_and_recordings_as_they_are_typed(site: Site) -> None:
    """`--wait` returns after the look, `--repair` lists ended jobs too, a recording is signed with recordings off."""
    jobs = site.assign("task-1", 8)
    site.rows.execute("update call_tasks set poll_due_at = now() + interval '1 hour'")
    site.cloud.finish()
    truth = {job["job_id"]: job for job in site.cloud.wait_final()}
    with site.role("poll"):
        assert site.type("task", "query", "task-1", "--wait")[0] == 0
        assert {job.call_job_id for page in read_events(site.topics, JOBS_POLLED) for job in page.jobs} == set(jobs)
        for job_id, job in truth.items():
            site.rows.execute(
                "update leads_task_list set call_status = %s, call_task_id = %s, settled_at = now() - interval '1 h'"
                " where call_job_id = %s",
                *(job["status"], job["call_task_id"], job_id),
            )
        assert site.type("task", "query", "task-1", "--repair", "--wait")[0] == 0
        repairs = [page for page in read_events(site.topics, JOBS_POLLED) if page.repair]
        assert {job.call_job_id for page in repairs for job in page.jobs} == set(jobs)
        status, _, complaint = site.type("task", "query", "unknown", "--wait")
        assert (status, complaint.count("\n")) == (1, 1)
    answered = next(job_id for job_id, job in truth.items() if job["status"] == "Succeeded")
    status, out, _ = site.type("recording", answered)
    assert status == 0
    assert out.startswith("http://")
    status, out, complaint = site.type("recording", "unknown")
    assert (status, out, complaint.count("\n")) == (1, "", 1)
