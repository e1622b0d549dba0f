"""Change detection as one writes it with the Faust documentation at hand: a record per job, a table entry per job.

Usage: PREFIX=... BROKER=... python -m faust -A benchmarks.detectors.naive worker --without-web

Times are left as text and nothing waits for the broker's word, both to its advantage.
"""

from datetime import datetime
from os import environ
from uuid import uuid4

import faust

from schemas.topics import JOBS_POLLED, STATUS_CHANGED

COMPARED = (
    "call_status",
    "planed_time",
    "call_task_id",
    "call_conversation",
    "calling_number",
    "failure_reason",
    "started_at",
    "ended_at",
)
PREFIX = environ["PREFIX"]


class Turn(faust.Record):
    """One utterance."""

    speaker: str
    script: str
    at: str | None = None


class Job(faust.Record):
    """What an observation and a change have in common."""

    task_id: str
    reference_id: str
    call_job_id: str
    call_status: str
    observed_at: str
    call_conversation: list[Turn]
    planed_time: str | None = None
    call_task_id: str | None = None
    calling_number: str | None = None
    failure_reason: str | None = None
    started_at: str | None = None
    ended_at: str | None = None


class Observation(Job, serializer="json"):
    """A job as the poller sees it."""

    stored_version: int = 0
    stored_status: str | None = None


class Change(Job, serializer="json"):
    """A job that differs from what was seen before."""

    event_id: str = ""
    version: int = 0
    changed: list[str] | None = None
    is_terminal: bool = False
    previous_status: str | None = None


app = faust.App(f"{PREFIX}group", broker=f"kafka://{environ['BROKER']}", topic_partitions=4, datadir=environ["DATADIR"])
observed = app.topic(PREFIX + JOBS_POLLED.name, value_type=Observation)
changes = app.topic(PREFIX + STATUS_CHANGED.name, value_type=Change)
jobs = app.Table("jobs", value_type=Observation)


@app.agent(observed)
async def detect(observations: faust.StreamT[Observation]) -> None:
    """Send what differs from the table."""
    async for seen in observations:
        held = jobs.get(seen.call_job_id)
        changed = [name for name in COMPARED if held is None or getattr(seen, name) != getattr(held, name)]
        if not changed:
            continue
        change = Change(
            event_id=str(uuid4()),
            version=int(datetime.fromisoformat(seen.observed_at).timestamp() * 1000),
            changed=changed,
            is_terminal=seen.call_status in {"Succeeded", "Failed", "Cancelled"},
            previous_status=held.call_status if held else None,
            task_id=seen.task_id,
            reference_id=seen.reference_id,
            call_job_id=seen.call_job_id,
            observed_at=seen.observed_at,
            **{name: getattr(seen, name) for name in COMPARED},
        )
        await changes.send(key=seen.call_job_id, value=change)
        jobs[seen.call_job_id] = seen
