"""Starts the simulator as a child process and speaks its control API; the child ends with the block, or its parent.

with CloudSimulator(seed=7) as cloud:
    config = Config(endpoint=cloud.endpoint, protocol="http", access_key_id=cloud.access_key_id, ...)
"""

import http.client
import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self, TypedDict, cast
from urllib.parse import quote

from devtools.cloud.faults import FaultKind
from devtools.cloud.settings import ACCESS_KEY_ID, ACCESS_KEY_SECRET, INSTANCE_ID, UnknownIds

START_SECONDS = 30.0
STOP_SECONDS = 5.0


class TurnTruth(TypedDict):
    """One utterance of the latest call."""

    speaker: str
    script: str
    at_ms: int


class JobTruth(TypedDict):
    """One job as it stands; times are epoch milliseconds, call fields are those of the latest attempt."""

    job_id: str
    group_id: str
    reference_id: str
    phone: str
    name: str
    status: str
    failure_reason: str | None
    created_at: int
    planed_time: int | None
    started_at: int | None
    ended_at: int | None
    call_ended_at: int | None
    attempts: int
    call_task_id: str | None
    calling_number: str | None
    connected: bool
    conversation: list[TurnTruth]
    intent: int
    final: bool


class GroupTruth(TypedDict):
    """One job group."""

    id: str
    name: str
    jobs: int


class JobRef(TypedDict):
    """Where a job is."""

    job_id: str
    group_id: str


class Duplicate(TypedDict):
    """A reference id with more than one job: somebody is called twice."""

    reference_id: str
    jobs: list[JobRef]


class CallCounts(TypedDict):
    """What callers did: outcomes by action, the largest calls, and the busiest second by action ("*" is all)."""

    actions: dict[str, dict[str, int]]
    max_ids: dict[str, int]
    max_job_ids: int
    max_page_size: int
    max_per_second: dict[str, int]


class CloudSimulator:
    """A context manager around one simulator process; its settings are those of the command line."""

    def __init__(
        self,
        *,
        seed: int = 7,
        speed: float = 1.0,
        spread_seconds: float = 8.0,
        unknown_ids: UnknownIds = "error",
        recording_seconds: int = 3600,
        port: int = 0,
    ) -> None:
        self.instance_id = INSTANCE_ID
        self.access_key_id = ACCESS_KEY_ID
        self.access_key_secret = ACCESS_KEY_SECRET
        self.port = port
        self._options = {
            "--seed": seed,
            "--speed": speed,
            "--spread": spread_seconds,
            "--unknown-ids": unknown_ids,
            "--recording-seconds": recording_seconds,
        }
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        """Host and port for the SDK's Config, with protocol http."""
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        """Start the process and wait until it listens; RuntimeError if it does not within 30 s."""
        root = str(Path(__file__).parents[2])
        options = [str(part) for pair in self._options.items() for part in pair]
        self._child = subprocess.Popen(
            [sys.executable, "-m", "devtools.cloud", "--port", str(self.port), "--parent", str(os.getpid()), *options],
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))},
        )
        try:
            self.port = _read_port(self._child)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the process."""
        self.stop()

    def stop(self) -> None:
        """End the process for sure, by force after 5 s; a second call does nothing."""
        child, self._child = self._child, None
        if child is None:
            return
        child.terminate()
        try:
            child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        if child.stdout is not None:
            child.stdout.close()

    def truth(self, group_id: str | None = None) -> list[JobTruth]:
        """Return every job, or those of one group, as they stand now, oldest first."""
        query = "" if group_id is None else f"?group={quote(group_id)}"
        return cast(list[JobTruth], self._ask("GET", f"/_sim/truth{query}"))

    def wait_final(self, group_id: str | None = None, seconds: float = 60.0) -> list[JobTruth]:
        """Block until every job is final and return them; TimeoutError if one is not in time."""
        deadline = time.monotonic() + seconds
        while True:
            jobs = self.truth(group_id)
            if jobs and all(job["final"] for job in jobs):
                return jobs
            if time.monotonic() > deadline:
                raise TimeoutError(f"{sum(not job['final'] for job in jobs)} of {len(jobs)} jobs are not final")
            time.sleep(0.1)

    def groups(self) -> list[GroupTruth]:
        """Return every job group, oldest first."""
        return cast(list[GroupTruth], self._ask("GET", "/_sim/groups"))

    def calls(self) -> CallCounts:
        """Return what was called so far."""
        return cast(CallCounts, self._ask("GET", "/_sim/calls"))

    def duplicates(self) -> list[Duplicate]:
        """Return the reference ids that were assigned more than once, across groups too."""
        return cast(list[Duplicate], self._ask("GET", "/_sim/duplicates"))

    def add_fault(self, action: str, kind: FaultKind, *, times: int = 1, skip: int = 0, seconds: float = 1.0) -> None:
        """Spoil `times` calls of an action ("*": of any) after `skip` have passed."""
        rule = {"action": action, "kind": kind, "times": times, "skip": skip, "seconds": seconds}
        self._ask("POST", "/_sim/faults", rule)

    def clear_faults(self) -> None:
        """Forget every rule."""
        self._ask("DELETE", "/_sim/faults")

    def finish(self) -> int:
        """Take every wait away from open jobs and return how many there are; their calls still take seconds."""
        return cast(dict[str, int], self._ask("POST", "/_sim/finish"))["open"]

    def _ask(self, method: str, path: str, body: object = None) -> object:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body=None if body is None else json.dumps(body))
            response = connection.getresponse()
            text = response.read()
            if response.status != http.client.OK:
                raise ValueError(f"{method} {path}: {response.status} {text.decode()}")
            answer: object = json.loads(text)
            return answer
        finally:
            connection.close()


def _read_port(child: subprocess.Popen[bytes]) -> int:
    """Wait for the line that says where the child listens."""
    if child.stdout is None:
        raise RuntimeError("the simulator has no standard output")
    ready, _, _ = select.select([child.stdout], [], [], START_SECONDS)
    line = child.stdout.readline() if ready else b""
    if not line:
        raise RuntimeError(f"the simulator did not start; exit code {child.poll()}")
    return int(json.loads(line)["port"])
