"""ListJobs, ListJobsByGroup, DescribeJob and DownloadRecording: what is known of jobs and their calls."""

import base64
import hmac
from urllib.parse import urlencode

from devtools.cloud.errors import ApiError, invalid, missing, not_exist
from devtools.cloud.jobs import Job
from devtools.cloud.parameters import Parameters
from devtools.cloud.shapes import Json, job_json, latest, task_json, with_tasks
from devtools.cloud.store import Store
from devtools.cloud.timeline import Attempt

MAX_IDS = 99
RECORDINGS = "/_recordings"


def list_jobs(store: Store, parameters: Parameters, now_ms: int) -> Json:
    """Return the named jobs with their calls, in any order; unknown ids are an error or left out, as configured."""
    parameters.instance(store.settings.instance_id)
    ids = parameters.listing("JobId")
    if not ids:
        raise missing("JobId")
    if len(ids) > MAX_IDS:
        raise invalid("JobId", f"at most {MAX_IDS} elements")
    found = [job for job in (_find(store, job_id, now_ms) for job_id in dict.fromkeys(ids)) if job is not None]
    rng = store.rng()
    rng.shuffle(found)
    rows = []
    for job in found:
        state = job.state(now_ms)
        rows.append(with_tasks(job_json(job, state, rng), job, state, now_ms, rng))
    return {"Jobs": rows}


def list_jobs_by_group(store: Store, parameters: Parameters, now_ms: int) -> Json:
    """Return a page of a group's jobs without calls; what changed last comes first, so jobs move between pages."""
    parameters.instance(store.settings.instance_id)
    group = store.group(parameters.required("JobGroupId"))
    page = parameters.page()
    status, reason = parameters.text("JobStatus"), parameters.text("JobFailureReason")
    pairs = [(job.state(now_ms), job) for job in store.jobs(now_ms, group.group_id)]
    pairs = [
        (state, job)
        for state, job in pairs
        if status in {None, state.status} and (reason is None or reason == state.failure_reason)
    ]
    pairs.sort(key=lambda pair: (-pair[0].changed_ms, pair[1].job_id))
    rng = store.rng()
    rows = [job_json(job, state, rng) for state, job in page.cut(pairs)]
    return {"Jobs": {"PageNumber": page.number, "PageSize": page.size, "TotalCount": len(pairs), "List": rows}}


def describe_job(store: Store, parameters: Parameters, now_ms: int) -> Json:
    """Return one job; its calls have an end and its reason, but no Duration."""
    parameters.instance(store.settings.instance_id)
    job_id = parameters.required("JobId")
    job = store.job(job_id, now_ms)
    if job is None:
        raise not_exist("Job", job_id)
    state, rng = job.state(now_ms), store.rng()
    last = latest(state)
    fields = job_json(job, state, rng)
    fields |= {
        "InstanceId": store.settings.instance_id,
        "CalledNumber": job.entry.phone,
        "ActualTime": None if last is None else last.started_ms,
        "Tasks": [_described(job, attempt, now_ms, task_json(job, attempt, now_ms, rng)) for attempt in state.attempts],
    }
    if parameters.boolean("WithScript"):
        fields["Script"] = {"ScriptId": store.group(job.group_id).script_id, "Name": "simulated script"}
    return {"Job": fields}


def download_recording(store: Store, parameters: Parameters, now_ms: int) -> Json:
    """Return a link, valid for a while, to the recording of an answered call that is over."""
    parameters.instance(store.settings.instance_id)
    task_id = parameters.required("TaskId")
    call = store.call(task_id)
    attempts = () if call is None else call[0].state(now_ms).attempts
    attempt = None if call is None else next((one for one in attempts if one.number == call[1]), None)
    if attempt is None:
        raise not_exist("Task", task_id)
    if not attempt.connected or now_ms < attempt.ended_ms:
        raise not_exist("Recording", task_id)
    expires = now_ms // 1000 + store.settings.recording_seconds
    path = f"{RECORDINGS}/{task_id}.wav"
    query = {
        "Expires": str(expires),
        "OSSAccessKeyId": store.settings.access_key_id,
        "Signature": sign_recording(path, expires, store.settings.access_key_secret),
    }
    url = f"http://{parameters.host}{path}?{urlencode(query)}"
    return {"DownloadParams": {"SignatureUrl": url, "FileName": f"{task_id}.wav", "VoiceSliceRecordingListJson": "[]"}}


def sign_recording(path: str, expires: int, secret: str) -> str:
    """Return the signature of a recording's link, as object storage does it."""
    digest = hmac.new(secret.encode(), f"GET\n\n\n{expires}\n{path}".encode(), "sha1").digest()
    return base64.b64encode(digest).decode()


def _find(store: Store, job_id: str, now_ms: int) -> Job | None:
    job = store.job(job_id, now_ms)
    if job is None and store.settings.unknown_ids == "error":
        raise ApiError(404, "NotExist.Job", f"The specified Job does not exist: {job_id}.")
    return job


def _described(job: Job, attempt: Attempt, now_ms: int, fields: Json) -> Json:
    fields.pop("Duration", None)
    if now_ms < attempt.ended_ms:
        return fields
    return fields | {
        "EndTime": attempt.ended_ms,
        "EndReason": "FINISHED" if attempt.connected else "ERROR",
        "HangUpDirection": "client" if job.plan.intent == 2 else "ivr",
        "SipCode": "200" if attempt.connected else "486",
        "TotalDuration": attempt.seconds,
    }
