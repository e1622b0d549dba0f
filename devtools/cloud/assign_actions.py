"""AssignJobs, AssignJobsAsync, GetAssignJobsAsyncResult: the calls that make people's telephones ring.

None knows a client token, so a repeated call makes second jobs for the same reference ids, as in the cloud.
"""

from devtools.cloud.errors import ApiError, invalid, missing, not_exist
from devtools.cloud.jobs import Entry, parse_entry
from devtools.cloud.parameters import Parameters, parse_texts
from devtools.cloud.shapes import Json
from devtools.cloud.store import Batch, Group, Store

MAX_ENTRIES = 99


def assign_jobs(store: Store, parameters: Parameters, now_ms: int) -> Json:
    """Create jobs at once; their ids come back in another order than the entries went."""
    group = _group(store, parameters)
    if parameters.boolean("IsAsynchrony"):
        raise invalid("IsAsynchrony", "not documented; AssignJobsAsync is")
    numbers = parameters.listing("CallingNumber")
    jobs = store.assign(group, read_entries("AssignJobs", parameters), numbers, now_ms)
    return {"JobGroupId": group.group_id, "JobsId": _disordered(store, [job.job_id for job in jobs])}


def assign_jobs_async(store: Store, parameters: Parameters, now_ms: int) -> Json:
    """Create jobs within two seconds; the answer is a task to be asked for."""
    group = _group(store, parameters)
    numbers = parse_texts("CallingNumber", parameters.text("CallingNumber") or "[]")
    ready_ms = now_ms + store.rng().randint(500, 1500)
    jobs = store.assign(group, read_entries("AssignJobsAsync", parameters), numbers, ready_ms)
    task_id = store.new_id("async", now_ms)
    job_ids = tuple(_disordered(store, [job.job_id for job in jobs]))
    store.batches[task_id] = Batch(group_id=group.group_id, job_ids=job_ids, ready_ms=ready_ms)
    return {"AsyncTaskId": task_id}


def get_assign_jobs_async_result(store: Store, parameters: Parameters, now_ms: int) -> Json:
    """Return the job ids of an asynchronous assignment; `Valid` says whether they are there yet."""
    task_id = parameters.required("AsyncTaskId")
    batch = store.batches.get(task_id)
    if batch is None:
        raise not_exist("AsyncTask", task_id)
    valid = batch.ready_ms <= now_ms
    job_ids = list(batch.job_ids) if valid else []
    return {"JobGroupId": batch.group_id, "JobsId": job_ids, "Valid": valid, "Timeout": False}


def assign_half(store: Store, action: str, parameters: Parameters, now_ms: int) -> None:
    """Create only the first half of the jobs: what a server does that dies on the way."""
    group = _group(store, parameters)
    entries = read_entries(action, parameters)
    store.assign(group, entries[: len(entries) // 2], [], now_ms)


def read_entries(action: str, parameters: Parameters) -> list[Entry]:
    """Read JobsJson of either action; ApiError names what is wrong with it."""
    if action == "AssignJobs":
        texts = parameters.listing("JobsJson")
        if len(texts) > MAX_ENTRIES:
            raise invalid("JobsJson", f"at most {MAX_ENTRIES} elements")
    else:
        texts = parse_texts("JobsJson", parameters.required("JobsJson"))
    if not texts:
        raise missing("JobsJson")
    return [parse_entry(text) for text in texts]


def _group(store: Store, parameters: Parameters) -> Group:
    parameters.instance(store.settings.instance_id)
    group = store.group(parameters.required("JobGroupId"))
    if parameters.text("RosterType") not in {None, "json"}:
        raise ApiError(400, "InvalidParameter", "RosterType: the simulator takes json only.")
    return group


def _disordered(store: Store, job_ids: list[str]) -> list[str]:
    """Return the ids in a drawn order that is never the given one, unless there is a single id."""
    shuffled = list(job_ids)
    store.rng().shuffle(shuffled)
    return shuffled[1:] + shuffled[:1] if shuffled == job_ids else shuffled
