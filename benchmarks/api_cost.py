"""What a ListJobs call of 99 jobs with two turns of conversation costs the caller, in CPU.

python -m benchmarks.api_cost [--calls N] [--rounds N]

The simulator runs in a process of its own; only this process's CPU is counted, over N calls one after the other, in
rounds that take turns: the client (`producers.cloud.client`), the same with reading the answer and encoding its pages
(`producers.paging`), and, for comparison, the SDK's own typed method. The garbage collector is set as in the role. Of
the simulator's conversations those with lone surrogates are left out: nobody says them, and they take a slower parser.
"""

import argparse
import os
import statistics
from collections.abc import Callable
from datetime import UTC, datetime

import psutil
from alibabacloud_outboundbot20191226.client import Client
from alibabacloud_outboundbot20191226.models import ListJobsRequest
from alibabacloud_tea_openapi.models import Config
from pydantic import SecretStr

from benchmarks.measuring import cpu_seconds, record
from cli.roles import collect_less
from devtools.cloud.process import CloudSimulator
from producers.cloud.client import MAX_LISTED_IDS, CloudClient
from producers.cloud.payloads import Contact, GroupOptions, StoredJob
from producers.paging import OpenRow, pages_of, read_answer
from runtime.kafka import outgoing
from runtime.settings import CloudSettings
from schemas.ids import CallJobId, ReferenceId, TaskId
from schemas.topics import JOBS_POLLED

TURNS = 2
LONE_SURROGATE = "\\ud"  # as `repr` shows one
NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)


def main() -> None:
    """Measure some rounds and keep the medians, in milliseconds a call."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    collect_less()
    with CloudSimulator(speed=100, spread_seconds=0) as cloud:
        client = CloudClient(
            CloudSettings(
                access_key_id=cloud.access_key_id,
                access_key_secret=SecretStr(cloud.access_key_secret),
                instance_id=cloud.instance_id,
                endpoint=cloud.endpoint,
                protocol="http",
                max_qps=1_000,
            )
        )
        jobs = ended_jobs(client, cloud)
        turns = measure_turns(client, jobs)
        rows = [open_row(number, job_id) for number, job_id in enumerate(jobs)]
        sdk = Client(
            Config(
                access_key_id=cloud.access_key_id,
                access_key_secret=cloud.access_key_secret,
                endpoint=cloud.endpoint,
                protocol="http",
            )
        )
        request = ListJobsRequest(instance_id=cloud.instance_id, job_id=list(jobs))
        ways: dict[str, Callable[[], object]] = {
            "client": lambda: client.list_jobs(jobs),
            "client_to_pages": lambda: encode_pages(client, rows),
            "sdk_typed": lambda: sdk.list_jobs(request),
        }
        rounds = [
            {name: milliseconds_a_call(way, arguments.calls) for name, way in ways.items()}
            for _ in range(arguments.rounds)
        ]
    medians = {f"{name}_ms": round(statistics.median(one[name] for one in rounds), 2) for name in ways}
    record("api_cost", {"jobs": len(jobs), "turns_each": turns, "calls": arguments.calls, "rounds": rounds} | medians)


def ended_jobs(client: CloudClient, cloud: CloudSimulator) -> list[CallJobId]:
    """Return 99 jobs that ended, with two turns in the mean."""
    group = client.create_job_group("benchmark", GroupOptions())
    for start in range(0, 500, 25):
        names = [ReferenceId(f"reference-{number}") for number in range(start, start + 25)]
        client.assign_jobs(group, [Contact(reference_id=name, name="n", phone_number="13800000000") for name in names])
    ended = [job for job in cloud.wait_final() if LONE_SURROGATE not in repr(job["conversation"])]
    talks = sorted(ended, key=lambda job: len(job["conversation"]))
    chosen: list[CallJobId] = []
    turns = 0
    while len(chosen) < MAX_LISTED_IDS:
        job = talks.pop(0 if turns > TURNS * len(chosen) else -1)
        chosen.append(CallJobId(job["job_id"]))
        turns += len(job["conversation"])
    return chosen


def measure_turns(client: CloudClient, jobs: list[CallJobId]) -> float:
    """Return how many turns a job has in the mean."""
    tasks = [task for job in client.list_jobs(jobs) for task in job.get("Tasks") or ()]
    return round(sum(len(task.get("Conversation") or ()) for task in tasks) / len(jobs), 2)


def open_row(number: int, job_id: CallJobId) -> OpenRow:
    """Return the row that asks for a job."""
    stored = StoredJob(
        task_id=TaskId("benchmark"),
        reference_id=ReferenceId(f"reference-{number}"),
        call_job_id=job_id,
        status_version=1,
        call_status="Executing",
    )
    return OpenRow(stored=stored, page=0)


def encode_pages(client: CloudClient, rows: list[OpenRow]) -> None:
    """Do what a look does with one call, up to the records that it publishes."""
    answer = read_answer(rows, client.list_jobs([row.job_id for row in rows]))
    assert len(answer.seen) == len(rows)
    for page in pages_of(answer.seen, NOW, repair=False):
        outgoing(JOBS_POLLED, page, source="benchmark")


def milliseconds_a_call(way: Callable[[], object], calls: int) -> float:
    """Return this process's CPU per call."""
    process = psutil.Process(os.getpid())
    way()
    before = cpu_seconds(process)
    for _ in range(calls):
        way()
    return round((cpu_seconds(process) - before) * 1_000 / calls, 2)


if __name__ == "__main__":
    main()
