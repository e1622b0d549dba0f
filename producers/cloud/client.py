"""The cloud's API as we need it: a small synchronous client over the real SDK, safe to share between threads.

Calls go through the SDK's `call_api` with raw bodies, because its typed models cost twice the CPU; its own retries are
off, because it ignores half of what one sets. Reads are retried here, with jitter and the service's own time to wait.
AssignJobs and CreateJobGroup are never retried: nobody knows whether they had their effect.
"""

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from alibabacloud_outboundbot20191226.client import Client
from alibabacloud_tea_openapi.models import Config, OpenApiRequest, Params
from alibabacloud_tea_openapi.utils import Utils
from darabonba.runtime import RuntimeOptions
from pyrate_limiter import Limiter, Rate, StateBucket
from pyrate_limiter.limiter import SingleBucketFactory
from Tea.exceptions import TeaException
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from producers.cloud.errors import CredentialsError, UnclearAnswerError, check_answer, from_exception
from producers.cloud.payloads import (
    Contact,
    GroupOptions,
    MappingError,
    Payload,
    job_id_of,
    job_json,
    reference_of,
    strategy_json,
)
from runtime import metrics
from runtime.errors import CallstreamError, RejectedError, RetryableError
from runtime.settings import CloudSettings
from schemas.ids import CallJobId, CallTaskId, JobGroupId, ReferenceId

MAX_LISTED_IDS: Final = 99
MAX_ASSIGNED: Final = 25
PAGE_SIZE: Final = 100
READ_ATTEMPTS: Final = 4
LONGEST_WAIT_SECONDS: Final = 10.0
LISTING_PASSES: Final = 20
JOB_STATUSES: Final = frozenset({"Scheduling", "Executing", "Succeeded", "Paused", "Failed", "Cancelled", "Drafted"})
SPACING_MARGIN_MS: Final = 60
LOOK_SECONDS: Final = 0.002


@dataclass(frozen=True, kw_only=True)
class GroupProgress:
    """A job group's own counts: cheap to ask, and enough to know whether anything moved."""

    status: str
    total: int
    by_status: Mapping[str, int]


class Pace:
    """Spaces calls evenly, so that no window of one second has more than `max_qps` of them; shared between threads.

    One thread at a time asks anew until its turn has come: the library's own waiting adds up intended pauses instead of
    reading the clock, so threads that overslept would go off together. The margin is for calls that arrive closer
    together than they were sent.
    """

    def __init__(self, max_qps: float) -> None:
        whole = max(1, math.floor(max_qps))
        interval = math.ceil(max((1000 + SPACING_MARGIN_MS) / whole, 1000 / max_qps))
        self._limiter = Limiter(SingleBucketFactory(StateBucket([Rate(1, interval)]), schedule_leak=False))
        self._turn = threading.Lock()

    def wait(self) -> None:
        """Block until a call may be made, in the order of asking as far as the lock is fair."""
        with self._turn:
            while not self._limiter.try_acquire("calls", blocking=False):
                time.sleep(LOOK_SECONDS)


class CloudClient:
    """Calls of one process, spaced so that no second has more than the settings allow.

    Every method blocks for at most the time-out of a few attempts. Raises RetryableError (CredentialsError among them)
    where a later call may work, RejectedError with the service's code where it will not.
    """

    def __init__(self, settings: CloudSettings) -> None:
        self._settings = settings
        self._pace = Pace(settings.max_qps)
        self._lock = threading.Lock()

    def list_jobs(self, ids: Sequence[CallJobId]) -> list[Payload]:
        """Return the jobs of these ids, at most 99, as the service shows them, in any order."""
        if len(ids) > MAX_LISTED_IDS:
            raise ValueError(f"{len(ids)} ids, the service takes {MAX_LISTED_IDS}")
        jobs = self._read("ListJobs", {"JobId": list(ids)}).get("Jobs")
        if not isinstance(jobs, list):
            raise UnclearAnswerError("ListJobs answered in another shape")
        return jobs

    def describe_job_group(self, group_id: JobGroupId) -> GroupProgress:
        """Return a group's status and counts."""
        group = _section(self._read("DescribeJobGroup", {"JobGroupId": group_id}), "JobGroup")
        progress = _section(group, "Progress")
        total = progress.get("TotalJobs")
        if not isinstance(total, int):
            raise UnclearAnswerError("the answer has no TotalJobs")
        return GroupProgress(
            status=str(group.get("Status")),
            total=total,
            # Beside counts by status there are others: StartTime and Duration, for instance.
            by_status={name: n for name, n in progress.items() if name in JOB_STATUSES and isinstance(n, int)},
        )

    def find_job_group(self, name: str) -> JobGroupId | None:
        """Return the group of exactly this name, from all pages of the search."""
        page = 1
        while True:
            parameters = {"SearchText": name, "PageNumber": page, "PageSize": PAGE_SIZE}
            groups = _section(self._read("ListJobGroups", parameters), "JobGroups")
            for group in _rows(groups):
                if group.get("JobGroupName") == name:
                    return _group_id(group)
            if page * PAGE_SIZE >= _total(groups):
                return None
            page += 1

    def create_job_group(self, name: str, options: GroupOptions) -> JobGroupId:
        """Create a group; after an error it may or may not exist, so search before another try."""
        parameters: dict[str, Any] = {"JobGroupName": name, "StrategyJson": strategy_json(options)}
        if options.script_id:
            parameters["ScriptId"] = options.script_id
        if options.calling_numbers:
            parameters["CallingNumber"] = list(options.calling_numbers)
        return _group_id(_section(self._call("CreateJobGroup", parameters), "JobGroup"))

    def list_group(self, group_id: JobGroupId) -> dict[ReferenceId, list[CallJobId]]:
        """Return every job of a group by reference, from a whole listing.

        Jobs move between pages while one lists, and a job never leaves its group: so passes are added up, and the
        listing counts once the distinct ids are as many as the service says throughout two passes in a row. Raises
        RetryableError where that does not happen.
        """
        jobs: dict[CallJobId, ReferenceId | None] = {}
        whole = 0
        for _ in range(LISTING_PASSES):
            totals = self._list_into(jobs, group_id)
            whole = whole + 1 if totals == {len(jobs)} else 0
            if whole == 2:
                return _by_reference(jobs)
            if len(jobs) > max(totals):
                jobs.clear()
        raise RetryableError("the group could not be listed whole")

    def assign_jobs(
        self, group_id: JobGroupId, contacts: Sequence[Contact], *, guard: Callable[[], None] = lambda: None
    ) -> None:
        """Have people called. After RejectedError nobody is; after any other error of the cloud somebody may be.

        `guard` is called when the turn of this call has come, immediately before it is sent; what it raises passes
        and nothing was sent.
        """
        if len(contacts) > MAX_ASSIGNED:
            raise ValueError(f"{len(contacts)} contacts, at most {MAX_ASSIGNED} are sent at once")
        elements = [job_json(contact) for contact in contacts]
        self._call("AssignJobs", {"JobGroupId": group_id, "JobsJson": elements}, guard)

    def download_recording(self, call_task_id: CallTaskId) -> str:
        """Return a fresh URL of an attempt's recording."""
        answer = self._read("DownloadRecording", {"TaskId": call_task_id})
        url = _section(answer, "DownloadParams").get("SignatureUrl")
        if not isinstance(url, str) or not url:
            raise RejectedError("the recording has no URL yet", code="NoRecording")
        return url

    def suspend(self, group_id: JobGroupId) -> None:
        """Pause a whole group."""
        self._read("SuspendJobs", {"All": True, "JobGroupId": group_id})

    def resume(self, group_id: JobGroupId) -> None:
        """Let a paused group go on."""
        self._read("ResumeJobs", {"All": True, "JobGroupId": group_id})

    def cancel(self, group_id: JobGroupId) -> None:
        """Cancel every open job of a group."""
        self._read("CancelJobs", {"All": True, "JobGroupId": group_id})

    def describe_instance(self) -> str:
        """Return the instance's name: whether credentials and instance are right."""
        return str(_section(self._read("DescribeInstance", {}), "Instance").get("InstanceName"))

    def _list_into(self, jobs: dict[CallJobId, ReferenceId | None], group_id: JobGroupId) -> set[int]:
        """Add one pass over all pages to `jobs`; returns every total that the pages named."""
        totals: set[int] = set()
        page, total = 1, 0
        while page == 1 or (page - 1) * PAGE_SIZE < total:
            parameters = {"JobGroupId": group_id, "PageNumber": page, "PageSize": PAGE_SIZE}
            listed = _section(self._read("ListJobsByGroup", parameters), "Jobs")
            total = _total(listed)
            totals.add(total)
            try:
                jobs |= {job_id_of(job): reference_of(job) for job in _rows(listed)}
            except MappingError as error:
                raise UnclearAnswerError(f"a listed job is none: {error}") from None
            page += 1
        return totals

    def _read(self, action: str, parameters: dict[str, Any]) -> Mapping[str, Any]:
        """Call what may be called twice, a few times."""
        retrying = Retrying(
            retry=retry_if_exception(_is_worth_another),
            wait=_wait,
            stop=stop_after_attempt(READ_ATTEMPTS),
            reraise=True,
        )
        return retrying(self._call, action, parameters)

    def _call(
        self, action: str, parameters: dict[str, Any], guard: Callable[[], None] = lambda: None
    ) -> Mapping[str, Any]:
        query = {"InstanceId": self._instance_id, **parameters}
        sdk = self._sdk
        self._pace.wait()
        guard()
        try:
            answer = sdk.call_api(_params(action), OpenApiRequest(query=Utils.query(query)), self._runtime)
            body = check_answer(action, answer.get("body"))
        except TeaException as error:
            meaning = from_exception(error)
            metrics.API_CALLS.labels(action, _code(meaning)).inc()
            raise meaning from None
        except CallstreamError as error:
            metrics.API_CALLS.labels(action, _code(error)).inc()
            raise
        metrics.API_CALLS.labels(action, "OK").inc()
        return body

    @property
    def _instance_id(self) -> str:
        if not self._settings.instance_id:
            raise CredentialsError("CALLSTREAM_OUTBOUNDBOT_INSTANCE_ID is not set")
        return self._settings.instance_id

    @property
    def _sdk(self) -> Client:
        with self._lock:
            return self._made_sdk

    @cached_property
    def _made_sdk(self) -> Client:
        settings = self._settings
        if not settings.access_key_id or settings.access_key_secret is None:
            raise CredentialsError("ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET are not set")
        return Client(
            Config(
                access_key_id=settings.access_key_id,
                access_key_secret=settings.access_key_secret.get_secret_value(),
                region_id=settings.region_id,
                endpoint=settings.endpoint,
                protocol=settings.protocol,
            )
        )

    @cached_property
    def _runtime(self) -> RuntimeOptions:
        timeout_ms = int(self._settings.timeout_seconds * 1000)
        return RuntimeOptions(connect_timeout=min(5000, timeout_ms), read_timeout=timeout_ms, autoretry=False)


def _params(action: str) -> Params:
    return Params(
        action=action,
        version="2019-12-26",
        protocol="HTTPS",
        pathname="/",
        method="POST",
        auth_type="AK",
        style="RPC",
        req_body_type="formData",
        body_type="json",
    )


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, RetryableError) else None
    return (asked or 0.0) + wait_random_exponential(multiplier=0.2, max=2)(state)


def _code(error: CallstreamError) -> str:
    return (error.code if isinstance(error, RejectedError) else None) or type(error).__name__


def _is_worth_another(error: BaseException) -> bool:
    """Whether asking again within seconds may help."""
    if not isinstance(error, RetryableError) or isinstance(error, CredentialsError):
        return False
    return (error.retry_after or 0.0) <= LONGEST_WAIT_SECONDS


def _rows(listed: Mapping[str, Any]) -> Sequence[Payload]:
    rows = listed.get("List") or []
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise UnclearAnswerError("the answer's List is none")
    return rows


def _total(listed: Mapping[str, Any]) -> int:
    total = listed.get("TotalCount")
    if not isinstance(total, int):
        raise UnclearAnswerError("the answer has no TotalCount")
    return total


def _group_id(group: Mapping[str, Any]) -> JobGroupId:
    group_id = group.get("JobGroupId")
    if not isinstance(group_id, str) or not group_id:
        raise UnclearAnswerError("the answer has no JobGroupId")
    return JobGroupId(group_id)


def _section(answer: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = answer.get(name)
    if not isinstance(section, Mapping):
        raise UnclearAnswerError(f"the answer has no {name}")
    return section


def _by_reference(jobs: Mapping[CallJobId, ReferenceId | None]) -> dict[ReferenceId, list[CallJobId]]:
    found: dict[ReferenceId, list[CallJobId]] = {}
    for job, reference in jobs.items():
        if reference is not None:
            found.setdefault(reference, []).append(job)
    return found
