"""The table of every action the simulated cloud knows; any other is refused as the gateway does."""

from collections.abc import Callable, Mapping

from devtools.cloud import assign_actions, group_actions, job_actions, order_actions, query_actions
from devtools.cloud.errors import ApiError
from devtools.cloud.parameters import Parameters
from devtools.cloud.shapes import Json
from devtools.cloud.store import Store

Action = Callable[[Store, Parameters, int], Json]

ACTIONS: Mapping[str, Action] = {
    "AssignJobs": assign_actions.assign_jobs,
    "AssignJobsAsync": assign_actions.assign_jobs_async,
    "CancelJobs": order_actions.cancel_jobs,
    "CreateJobGroup": group_actions.create_job_group,
    "DescribeInstance": group_actions.describe_instance,
    "DescribeJob": job_actions.describe_job,
    "DescribeJobGroup": group_actions.describe_job_group,
    "DownloadRecording": job_actions.download_recording,
    "GetAssignJobsAsyncResult": assign_actions.get_assign_jobs_async_result,
    "ListInstances": group_actions.list_instances,
    "ListJobGroups": group_actions.list_job_groups,
    "ListJobs": job_actions.list_jobs,
    "ListJobsByGroup": job_actions.list_jobs_by_group,
    "QueryJobsWithResult": query_actions.query_jobs_with_result,
    "ResumeJobs": order_actions.resume_jobs,
    "SuspendJobs": order_actions.suspend_jobs,
}

FORM_ACTIONS = frozenset({"AssignJobsAsync"})


def find(name: str) -> Action:
    """Return an action by its name; ApiError if the cloud has no such action."""
    if name not in ACTIONS:
        raise ApiError(404, "InvalidAction.NotFound", "Specified api is not found, please check your url and method.")
    return ACTIONS[name]
