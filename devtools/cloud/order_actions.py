"""SuspendJobs, ResumeJobs, CancelJobs: what people tell jobs that are already assigned."""

from collections.abc import Callable

from devtools.cloud.errors import missing, not_exist
from devtools.cloud.jobs import Job
from devtools.cloud.parameters import Parameters
from devtools.cloud.shapes import Json
from devtools.cloud.store import Store
from devtools.cloud.timeline import Orders


def suspend_jobs(store: Store, parameters: Parameters, now_ms: int) -> Json:
    """Make jobs wait; a call in progress goes on to its end."""
    return _order(store, parameters, now_ms, lambda orders: orders.suspend(now_ms))


def resume_jobs(store: Store, parameters: Parameters, now_ms: int) -> Json:
    """Let suspended jobs go on, later by as long as they waited."""
    return _order(store, parameters, now_ms, lambda orders: orders.resume(now_ms))


def cancel_jobs(store: Store, parameters: Parameters, now_ms: int) -> Json:
    """End jobs at once; a call in progress is cut."""
    return _order(store, parameters, now_ms, lambda orders: orders.cancel(now_ms))


def hurry_jobs(store: Store, now_ms: int) -> int:
    """Take every wait away from open jobs and return how many there are; not an action of the cloud."""
    jobs = [job for job in store.jobs(now_ms) if not job.state(now_ms).final]
    for job in jobs:
        job.obey(job.orders.hurry(now_ms))
    return len(jobs)


def _order(store: Store, parameters: Parameters, now_ms: int, change: Callable[[Orders], Orders]) -> Json:
    parameters.instance(store.settings.instance_id)
    for job in _selected(store, parameters, now_ms):
        if not job.state(now_ms).final:
            job.obey(change(job.orders))
    return {}


def _selected(store: Store, parameters: Parameters, now_ms: int) -> list[Job]:
    """Return all jobs (of a group, if one is named), or those named by id or reference id."""
    parameters.required("All")
    group_id = parameters.text("JobGroupId")
    if group_id is not None:
        store.group(group_id)
    if parameters.boolean("All"):
        return store.jobs(now_ms, group_id)
    job_ids, references = parameters.listing("JobId"), parameters.listing("JobReferenceId")
    if not job_ids and not references:
        raise missing("JobId")
    named = [_known(store, job_id, now_ms) for job_id in job_ids]
    named += [job for reference in references for job in store.jobs_of_reference(reference, now_ms)]
    return [job for job in named if group_id in {None, job.group_id}]


def _known(store: Store, job_id: str, now_ms: int) -> Job:
    job = store.job(job_id, now_ms)
    if job is None:
        raise not_exist("Job", job_id)
    return job
