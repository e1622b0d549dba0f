"""QueryJobsWithResult: the filtered listing that knows the outcome of each latest call, but not its id or words."""

from collections.abc import Callable

from devtools.cloud.jobs import Job
from devtools.cloud.parameters import Parameters
from devtools.cloud.shapes import Json, latest
from devtools.cloud.store import Store
from devtools.cloud.timeline import Attempt, State

Test = Callable[[Job, State, Attempt | None], bool]

STATUS_NAMES = {
    "Scheduling": "调度中",
    "Executing": "执行中",
    "Succeeded": "已完成-已达成",
    "Paused": "已暂停",
    "Failed": "已完成-未达成",
    "Cancelled": "已取消",
}


def query_jobs_with_result(store: Store, parameters: Parameters, now_ms: int) -> Json:
    """Return a page of a group's jobs with the result of their latest calls, oldest job first."""
    parameters.instance(store.settings.instance_id)
    group = store.group(parameters.required("JobGroupId"))
    page = parameters.page()
    tests = _tests(parameters, now_ms)
    rows = []
    for job in store.jobs(now_ms, group.group_id):
        state = job.state(now_ms)
        last = latest(state)
        if all(test(job, state, last) for test in tests):
            rows.append((job, state, last))
    listing = {
        "PageNumber": page.number,
        "PageSize": page.size,
        "PageCount": -(-len(rows) // page.size),
        "RowCount": len(rows),
        "List": [_row(job, state, last, now_ms) for job, state, last in page.cut(rows)],
    }
    return {"Jobs": listing, "VariableNames": [], "Labels": []}


def _tests(parameters: Parameters, now_ms: int) -> list[Test]:
    """Return one test for every filter that the call gives."""
    tests: list[Test] = []
    if text := parameters.text("QueryText"):
        tests.append(lambda job, _state, _last: text in job.entry.phone or text == job.job_id)
    if statuses := parameters.texts("JobStatusFilter"):
        tests.append(lambda _job, state, _last: state.status in statuses)
    if reasons := parameters.texts("JobFailureReasonsFilter"):
        tests.append(lambda _job, state, _last: state.failure_reason in reasons)
    if tasks := parameters.texts("TaskStatusFilter"):
        tests.append(lambda _job, _state, last: last is not None and _task_status(last, now_ms) in tasks)
    return tests + _call_tests(parameters, now_ms)


def _call_tests(parameters: Parameters, now_ms: int) -> list[Test]:
    tests: list[Test] = []
    start, end = parameters.integer("StartActualTimeFilter"), parameters.integer("EndActualTimeFilter")
    if start is not None:
        tests.append(lambda _job, _state, last: last is not None and last.started_ms >= start)
    if end is not None:
        tests.append(lambda _job, _state, last: last is not None and last.started_ms <= end)
    answered = parameters.boolean("HasAnsweredFilter")
    if answered is not None:
        tests.append(lambda _job, _state, last: _answered(last, now_ms) is answered)
    finished = parameters.boolean("HasReachedEndOfFlowFilter")
    if finished is not None:
        tests.append(lambda _job, _state, last: _finished(last, now_ms) is finished)
    rejected = parameters.boolean("HasHangUpByRejectionFilter")
    if rejected is not None:
        tests.append(lambda job, state, _last: _rejected(job, state) is rejected)
    return tests


def _row(job: Job, state: State, last: Attempt | None, now_ms: int) -> Json:
    row: Json = {"Id": job.job_id, "Status": state.status, "StatusName": STATUS_NAMES[state.status]}
    if state.failure_reason is not None:
        row["JobFailureReason"] = state.failure_reason
    if last is not None:
        row["LatestTask"] = _latest_json(job, state, last, now_ms)
    return row


def _latest_json(job: Job, state: State, last: Attempt, now_ms: int) -> Json:
    status = _task_status(last, now_ms)
    return {
        "Status": status,
        "StatusName": status,
        "CallTime": last.started_ms,
        "CallDuration": last.seconds * 1000 if last.ended_ms <= now_ms else 0,
        "HasAnswered": _answered(last, now_ms),
        "HasReachedEndOfFlow": _finished(last, now_ms),
        "HasHangUpByRejection": _rejected(job, state),
        "HasLastPlaybackCompleted": _finished(last, now_ms),
        "Contact": {
            "Id": f"contact-{job.job_id}",
            "Name": job.entry.name,
            "PhoneNumber": job.entry.phone,
            "ReferenceId": job.entry.reference_id,
            "JobUuid": job.job_id,
            "Honorific": job.entry.honorific,
        },
        "Extras": [{"Key": key, "Value": value} for key, value in job.entry.extras],
        "TagHits": [],
        "DialExceptionCodes": [],
    }


def _task_status(last: Attempt, now_ms: int) -> str:
    return last.status if last.ended_ms <= now_ms else "Executing"


def _answered(last: Attempt | None, now_ms: int) -> bool:
    return last is not None and last.connected and last.ended_ms <= now_ms


def _finished(last: Attempt | None, now_ms: int) -> bool:
    return last is not None and _task_status(last, now_ms) == "SucceededFinish"


def _rejected(job: Job, state: State) -> bool:
    return state.status == "Succeeded" and job.plan.intent == 2
