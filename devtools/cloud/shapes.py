"""Jobs and calls as the API spells them.

What the real cloud leaves open is drawn: the order of Tasks, and whether an optional field of a young job is there,
null or absent.
"""

import random
from collections.abc import Sequence

from devtools.cloud.jobs import Job
from devtools.cloud.timeline import Attempt, State

Json = dict[str, object]

YOUNG = ("ReferenceId", "FailureReason", "Extras", "Summary", "CallingNumbers", "ScenarioId", "StrategyId", "Priority")
RINGING_MS = 300


def job_json(job: Job, state: State, rng: random.Random) -> Json:
    """Return the fields that every listing of jobs has; the contact is there from the beginning."""
    fields: Json = {
        "JobId": job.job_id,
        "JobGroupId": job.group_id,
        "Status": state.status,
        "FailureReason": state.failure_reason,
        "ReferenceId": job.entry.reference_id,
        "ScenarioId": "",
        "StrategyId": f"strategy-{job.group_id}",
        "Priority": 0,
        "SystemPriority": 1,
        "CallingNumbers": list(job.calling_numbers),
        "Contacts": [contact_json(job)],
        "Extras": [{"Key": key, "Value": value} for key, value in job.entry.extras],
        "Summary": [],
    }
    if state.failure_reason is None:
        blur(fields, ("FailureReason",), rng)
    if not state.attempts and not state.final:
        blur(fields, YOUNG, rng)
    return fields


def contact_json(job: Job) -> Json:
    """Return the person to be called."""
    return {
        "ContactId": f"contact-{job.job_id}",
        "ContactName": job.entry.name,
        "Honorific": job.entry.honorific,
        "JobId": job.job_id,
        "PhoneNumber": job.entry.phone,
        "ReferenceId": job.entry.reference_id,
        "Role": "",
        "State": "WrongNumber" if job.plan.failure_reason == "EmptyNumber" else "Available",
    }


def with_tasks(fields: Json, job: Job, state: State, now_ms: int, rng: random.Random) -> Json:
    """Add the calls in any order; a job never called may lack the field."""
    tasks = [task_json(job, attempt, now_ms, rng) for attempt in state.attempts]
    rng.shuffle(tasks)
    fields["Tasks"] = tasks
    if not tasks:
        blur(fields, ("Tasks",), rng)
    return fields


def task_json(job: Job, attempt: Attempt, now_ms: int, rng: random.Random) -> Json:
    """Return one call; while it lasts its status is Executing and its conversation grows."""
    fields: Json = {
        "TaskId": job.task_id(attempt.number),
        "JobId": job.job_id,
        "Status": attempt.status,
        "PlanedTime": attempt.planed_ms,
        "ActualTime": attempt.started_ms,
        "CallingNumber": job.calling_number(attempt.number),
        "CalledNumber": job.entry.phone,
        "CallId": job.call_id(attempt.number),
        "Duration": attempt.seconds,
        "ChatbotId": "chatbot-simulated",
        "ScenarioId": "",
        "Brief": "",
        "Contact": contact_json(job),
        "Conversation": conversation_json(job, attempt, now_ms),
    }
    if now_ms < attempt.ended_ms:
        fields["Status"] = "Executing"
        fields.pop("Duration")
        blur(fields, ("CallId", "Brief", "Contact"), rng)
        if now_ms < attempt.started_ms + RINGING_MS:
            blur(fields, ("ActualTime",), rng)
    if not fields["Conversation"]:
        blur(fields, ("Conversation",), rng)
    return fields


def conversation_json(job: Job, attempt: Attempt, now_ms: int) -> list[Json]:
    """Return what was said so far, oldest first."""
    return [
        {"Timestamp": attempt.started_ms + turn.offset_ms, "Speaker": turn.speaker, "Script": turn.script}
        for turn in job.turns(attempt, now_ms)
    ]


def blur(fields: Json, names: Sequence[str], rng: random.Random) -> None:
    """Leave each named field as it is, make it null, or take it away."""
    for name in names:
        roll = rng.random()
        if roll < 1 / 3:
            fields[name] = None
        elif roll < 2 / 3:
            fields.pop(name, None)


def latest(state: State) -> Attempt | None:
    """Return the call that began last."""
    return max(state.attempts, key=lambda attempt: attempt.started_ms, default=None)
