"""The cloud's JSON to our values: what is taken, what is cleaned, what is refused."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.cloud.payloads import (
    Contact,
    GroupOptions,
    MappingError,
    StoredJob,
    job_json,
    job_snapshot,
    strategy_json,
)
from schemas.ids import CallJobId, ReferenceId, TaskId
from schemas.instants import from_milliseconds
from schemas.tasks import WorkingHours

STORED = StoredJob(
    task_id=TaskId("t"),
    reference_id=ReferenceId("r"),
    call_job_id=CallJobId("j"),
    status_version=3,
    call_status="Executing",
)


def attempt(number: int, actual: int | None, planned: int | None = 0, **more: Any) -> dict[str, Any]:
    """One attempt of a job."""
    return {"TaskId": f"task-{number}", "ActualTime": actual, "PlanedTime": planned, "CallingNumber": "0571"} | more


@given(st.permutations([attempt(1, 1000), attempt(2, 3000, Duration=2), attempt(3, 2000)]))
def test_the_latest_attempt_is_the_one_placed_last_in_any_order(attempts: list[dict[str, Any]]) -> None:
    """The service promises no order of attempts."""
    job = job_snapshot({"Status": "Succeeded", "Tasks": attempts}, STORED)
    assert job.call_task_id == "task-2"
    assert job.started_at == from_milliseconds(3000)
    assert job.ended_at == from_milliseconds(5000)


def test_a_planned_attempt_counts_by_its_plan() -> None:
    """Before it is placed it has no actual time."""
    job = job_snapshot({"Status": "Scheduling", "Tasks": [attempt(1, 1000), attempt(2, None, 9000)]}, STORED)
    assert job.call_task_id == "task-2"
    assert job.started_at is None


def test_a_time_of_zero_is_none() -> None:
    """Services that write a number for what is not known write this one."""
    job = job_snapshot({"Status": "Failed", "Tasks": [attempt(1, 1000), attempt(2, 0, 9000, Duration=0)]}, STORED)
    assert (job.call_task_id, job.started_at, job.ended_at) == ("task-2", None, None)


@pytest.mark.parametrize(
    "body", [{"Status": "Scheduling"}, {"Status": "Scheduling", "Tasks": None, "FailureReason": None}]
)
def test_early_states_lack_nearly_everything(body: dict[str, Any]) -> None:
    """Null and absent are the same: not known."""
    job = job_snapshot(body, STORED)
    assert (job.call_status, job.call_conversation, job.call_task_id, job.ended_at) == ("Scheduling", (), None, None)
    assert (job.stored_version, job.stored_status) == (3, "Executing")


def test_a_call_that_has_not_ended_has_no_end() -> None:
    """A duration that grows while the call runs is no end."""
    assert job_snapshot({"Status": "Executing", "Tasks": [attempt(1, 1000, Duration=1)]}, STORED).ended_at is None


def test_conversations_keep_everything_a_database_can_hold() -> None:
    """Quotes, emoji and unknown speakers stay; NUL and lone surrogates are replaced."""
    turns = [{"Speaker": "Robot", "Script": 'a"b😀\x00\ud800', "Timestamp": 5}, {"Script": None, "Speaker": "Contact"}]
    job = job_snapshot({"Status": "Succeeded", "Tasks": [attempt(1, 1, Conversation=turns)]}, STORED)
    assert [turn.script for turn in job.call_conversation] == ['a"b😀\ufffd\ufffd', ""]
    assert job.call_conversation[0].at == from_milliseconds(5)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "Status"),
        ({"Status": 3}, "Status"),
        ({"Status": "Succeeded", "Tasks": {"Task": []}}, "Tasks"),
        ({"Status": "Succeeded", "Tasks": [attempt(1, 1) | {"TaskId": "a\x00"}]}, "TaskId"),
        ({"Status": "Succeeded", "Tasks": [attempt(1, 1) | {"PlanedTime": "soon"}]}, "PlanedTime"),
        ({"Status": "Succeeded", "Tasks": [attempt(1, 10**20)]}, "ActualTime"),
        ({"Status": "Succeeded", "Tasks": [attempt(1, 1, Duration="2")]}, "Duration"),
        ({"Status": "Succeeded", "Tasks": [attempt(1, 1, Conversation=["x"])]}, "Conversation"),
    ],
)
def test_what_cannot_be_mapped_is_refused_by_name(body: dict[str, Any], named: str) -> None:
    """The dead letter says which field."""
    with pytest.raises(MappingError, match=named):
        job_snapshot(body, STORED)


def test_a_contact_is_sent_under_its_reference_and_never_shown() -> None:
    """The documented spelling of the keys; `repr` goes to logs."""
    contact = Contact(reference_id=ReferenceId("r"), name="张三", phone_number="138", extras={"k": "v"})
    assert orjson.loads(job_json(contact)) == {
        "contacts": [{"phoneNumber": "138", "name": "张三", "referenceId": "r"}],
        "extras": [{"key": "k", "value": "v"}],
    }
    assert "138" not in repr(contact)
    assert "张三" not in repr(contact)


def test_options_become_a_strategy() -> None:
    """What is not asked for the cloud decides."""
    options = GroupOptions(working_hours=(WorkingHours(begin="09:00", end="12:00"),), max_attempts_per_day=2)
    assert orjson.loads(strategy_json(options)) == {
        "repeatBy": "Once",
        "workingTime": [{"beginTime": "09:00:00", "endTime": "12:00:00"}],
        "maxAttemptsPerDay": 2,
    }
