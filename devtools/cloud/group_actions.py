"""CreateJobGroup, DescribeJobGroup, ListJobGroups, and the two that describe instances."""

import json
from collections import Counter

from devtools.cloud.errors import invalid, not_exist
from devtools.cloud.parameters import Page, Parameters
from devtools.cloud.shapes import Json
from devtools.cloud.store import CALLING_NUMBERS, Group, Store

GROUP_STATUSES = frozenset(
    {"Draft", "Scheduling", "Executing", "Completed", "Paused", "Failed", "Cancelled", "Initializing"}
)
MAX_NAME = 200
UNKNOWN_SCRIPT = "unknown"  # begins the ids of scripts that this cloud does not have


def create_job_group(store: Store, parameters: Parameters, now_ms: int) -> Json:
    """Create a group; a name that is taken is refused."""
    parameters.instance(store.settings.instance_id)
    name = parameters.required("JobGroupName")
    if len(name) > MAX_NAME:
        raise invalid("JobGroupName", f"at most {MAX_NAME} characters")
    priority = parameters.text("Priority") or "Daily"
    if priority not in {"Urgent", "Daily"}:
        raise invalid("Priority", "Urgent or Daily")
    script_id = parameters.text("ScriptId") or ""
    if script_id.startswith(UNKNOWN_SCRIPT):
        raise not_exist("Script", script_id)
    group = Group(
        group_id=store.new_id("group", now_ms),
        name=name,
        description=parameters.text("JobGroupDescription") or "",
        script_id=script_id,
        created_ms=now_ms,
        calling_numbers=tuple(parameters.listing("CallingNumber")) or CALLING_NUMBERS,
        recall_calling_numbers=tuple(parameters.listing("RecallCallingNumber")),
        strategy=_strategy(parameters),
        ringing_seconds=parameters.integer("RingingDuration") or 25,
        priority=priority,
        min_concurrency=parameters.integer("MinConcurrency") or 0,
    )
    store.add_group(group)
    return {"JobGroup": _described(group, "Draft")}


def describe_job_group(store: Store, parameters: Parameters, now_ms: int) -> Json:
    """Return a group with the count of its jobs by status."""
    parameters.instance(store.settings.instance_id)
    group = store.group(parameters.required("JobGroupId"))
    counts = _counts(store, group, now_ms)
    progress: Json = {
        "TotalJobs": counts.total(),
        "TotalCompleted": counts["Succeeded"] + counts["Failed"] + counts["Cancelled"],
        "TotalNotAnswered": counts["Failed"],
        **{status: counts[status] for status in ("Scheduling", "Executing", "Paused", "Failed", "Cancelled")},
        "Briefs": [],
        "Categories": [],
    }
    return {"JobGroup": {**_described(group, _status(counts)), "Progress": progress, "Result": {}}}


def list_job_groups(store: Store, parameters: Parameters, now_ms: int) -> Json:
    """Return groups, newest first, whose name or id holds SearchText, filtered by creation time and status."""
    parameters.instance(store.settings.instance_id)
    page = parameters.page()
    if parameters.boolean("AsyncQuery"):
        raise invalid("AsyncQuery", "the simulator answers at once only")
    wanted = frozenset(parameters.texts("JobGroupStatusFilter"))
    if wanted - GROUP_STATUSES:
        raise invalid("JobGroupStatusFilter", "an unknown status")
    rows = []
    for group in reversed(store.groups.values()):
        if _matches(group, parameters):
            counts = _counts(store, group, now_ms)
            if not wanted or _status(counts) in wanted:
                rows.append(_listed(group, counts))
    listing = {"PageNumber": page.number, "PageSize": page.size, "TotalCount": len(rows), "List": page.cut(rows)}
    return {"JobGroups": listing}


def describe_instance(store: Store, parameters: Parameters, now_ms: int) -> Json:
    """Return the one instance there is."""
    parameters.instance(store.settings.instance_id)
    return {"Instance": _instance(store, now_ms)}


def list_instances(store: Store, parameters: Parameters, now_ms: int) -> Json:
    """Return the one instance there is, if its name holds Name."""
    page = (
        parameters.page() if parameters.text("PageNumber") or parameters.text("PageSize") else Page(number=1, size=10)
    )
    instance = _instance(store, now_ms)
    rows = [instance] if (parameters.text("Name") or "") in str(instance["InstanceName"]) else []
    return {
        "PageNumber": page.number,
        "PageSize": page.size,
        "TotalCount": len(rows),
        "Instances": page.cut(rows),
    }


def _instance(store: Store, now_ms: int) -> Json:
    return {
        "InstanceId": store.settings.instance_id,
        "InstanceName": "simulated",
        "InstanceDescription": "a simulator, not the cloud",
        "MaxConcurrentConversation": 1000,
        "OwnerName": "simulator",
        "CreatorName": "simulator",
        "CreationTime": now_ms - now_ms % 86_400_000,
        "ResourceGroupId": "",
    }


def _strategy(parameters: Parameters) -> dict[str, object]:
    text = parameters.text("StrategyJson")
    if text is None:
        return {}
    try:
        strategy = json.loads(text)
    except ValueError as error:
        raise invalid("StrategyJson", "no JSON") from error
    if not isinstance(strategy, dict):
        raise invalid("StrategyJson", "an object is needed")
    return {_capital(key): _capitals(value) for key, value in strategy.items()}


def _capitals(value: object) -> object:
    """Return a value of a strategy as answers spell it: the keys of its periods begin with a capital letter."""
    if isinstance(value, list):
        return [_capitals(item) for item in value]
    return {_capital(key): item for key, item in value.items()} if isinstance(value, dict) else value


def _capital(key: str) -> str:
    return key[:1].upper() + key[1:]


def _matches(group: Group, parameters: Parameters) -> bool:
    text = parameters.text("SearchText") or ""
    start, end = parameters.integer("StartTime"), parameters.integer("EndTime")
    return (
        (text in group.name or text == group.group_id)
        and (start is None or group.created_ms >= start)
        and (end is None or group.created_ms <= end)
        and (not parameters.boolean("OnlyMinConcurrencyEnabled") or group.min_concurrency > 0)
    )


def _counts(store: Store, group: Group, now_ms: int) -> Counter[str]:
    return Counter(job.state(now_ms).status for job in store.jobs(now_ms, group.group_id))


def _status(counts: Counter[str]) -> str:
    if not counts:
        return "Draft"
    if counts["Executing"]:
        return "Executing"
    if counts["Scheduling"]:
        return "Scheduling"
    if counts["Paused"]:
        return "Paused"
    return "Cancelled" if counts["Cancelled"] == counts.total() else "Completed"


def _common(group: Group, status: str) -> Json:
    return {
        "JobGroupId": group.group_id,
        "JobGroupName": group.name,
        "JobGroupDescription": group.description,
        "Status": status,
        "CreationTime": group.created_ms,
        "ModifyTime": str(group.created_ms),
        "ScriptId": group.script_id,
        "ScriptName": "simulated script",
        "ScriptVersion": "1",
        "MinConcurrency": group.min_concurrency,
    }


def _described(group: Group, status: str) -> Json:
    return {
        **_common(group, status),
        "CallingNumbers": list(group.calling_numbers),
        "RecallCallingNumbers": list(group.recall_calling_numbers),
        "Priority": group.priority,
        "RingingDuration": group.ringing_seconds,
        "Strategy": {"StrategyId": f"strategy-{group.group_id}", **group.strategy},
    }


def _listed(group: Group, counts: Counter[str]) -> Json:
    progress = {
        "TotalJobs": counts.total(),
        "TotalCompleted": counts["Succeeded"] + counts["Failed"] + counts["Cancelled"],
        "Scheduling": counts["Scheduling"],
        "ExecutingNum": counts["Executing"],
        "PausedNum": counts["Paused"],
        "FailedNum": counts["Failed"],
        "CancelledNum": counts["Cancelled"],
    }
    return {**_common(group, _status(counts)), "Progress": progress, "TotalCallNum": counts.total()}
