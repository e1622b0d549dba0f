"""What a start request may ask for: every field that makes no sense is named, and what makes sense passes."""

import pytest

from producers.start_options import field_of_refusal, problem_of
from schemas.ids import TaskId
from schemas.tasks import StartRequested, WorkingHours

TASK = TaskId("task-1")


def hours(*spans: tuple[str, str]) -> StartRequested:
    """A request with these working hours."""
    return StartRequested(task_id=TASK, working_hours=tuple(WorkingHours(begin=begin, end=end) for begin, end in spans))


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (hours(("18:00", "09:00")), "working_hours"),
        (hours(("09:00", "09:00")), "working_hours"),
        (hours(("25:00", "26:00")), "working_hours"),
        (hours(("9", "12:00")), "working_hours"),
        (hours(("09:00", "12:00"), ("11:00", "18:00")), "working_hours"),
        (StartRequested(task_id=TASK, calling_numbers=("057126883106", "nobody")), "calling_numbers"),
        (StartRequested(task_id=TASK, calling_numbers=("",)), "calling_numbers"),
        (StartRequested(task_id=TASK, script_id=" "), "script_id"),
        (StartRequested(task_id=TASK, max_attempts_per_day=0), "max_attempts_per_day"),
        (StartRequested(task_id=TASK, max_attempts_per_day=101), "max_attempts_per_day"),
        (StartRequested(task_id=TASK, min_attempt_interval_minutes=0), "min_attempt_interval_minutes"),
    ],
)
def test_what_makes_no_sense_is_said_by_the_name_of_its_field(request_: StartRequested, field: str) -> None:
    """One sentence, which quotes no number of anybody."""
    problem = problem_of(request_)
    assert problem is not None
    assert problem.startswith(f"{field}: ")
    assert "nobody" not in problem


@pytest.mark.parametrize(
    "request_",
    [
        StartRequested(task_id=TASK),
        hours(("09:00", "12:00"), ("14:00", "18:00")),
        hours(("14:00", "18:00"), ("09:00", "14:00")),
        StartRequested(
            task_id=TASK,
            script_id="script-1",
            calling_numbers=("057126883106", "+86-571-26883106"),
            max_attempts_per_day=1,
            min_attempt_interval_minutes=1440,
        ),
    ],
)
def test_what_makes_sense_passes(request_: StartRequested) -> None:
    """Options may also be absent."""
    assert problem_of(request_) is None


@pytest.mark.parametrize(
    ("code", "has_script", "field"),
    [
        ("NotExist.Script", True, "script_id"),
        ("NotExist.CallingNumber", True, "calling_numbers"),
        ("MissingParameter", False, "script_id"),
        ("MissingParameter", True, None),
        ("LimitExceeded", False, None),
    ],
)
def test_the_clouds_refusal_names_a_field_where_it_can(code: str, has_script: bool, field: str | None) -> None:  # noqa: FBT001 - a column
    """A script that neither the request nor the settings name is what is missing."""
    assert field_of_refusal(code, has_script=has_script) == field
