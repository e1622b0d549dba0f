"""The cloud's API as we need it: the actions, their parameters, and whole listings of what comes by pages.

AssignJobs and CreateJobGroup are never retried: nobody knows whether they had their effect. Where the documentation
leaves the shape of an answer open, any is taken: less than the page that was asked for, counts as texts, null.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from typing import Any, Final

from producers.cloud.errors import UnclearAnswerError
from producers.cloud.gateway import Gateway
from producers.cloud.payloads import (
    Contact,
    GroupOptions,
    MappingError,
    Payload,
    job_id_of,
    job_json,
    reference_of,
    strategy_json,
    working_hours,
)
from runtime.errors import RejectedError, RetryableError
from runtime.settings import CloudSettings
from schemas.ids import CallJobId, CallTaskId, JobGroupId, ReferenceId
from schemas.instants import to_milliseconds

MAX_LISTED_IDS: Final = 99
MAX_ASSIGNED: Final = 25
PAGE_SIZE: Final = 100
LISTING_PASSES: Final = 20
JOB_STATUSES: Final = frozenset({"Scheduling", "Executing", "Succeeded", "Paused", "Failed", "Cancelled", "Drafted"})
OPEN_STATUSES: Final = frozenset({"Scheduling", "Executing"})
"""Without the counts of these nothing shows that a call began or ended."""


@dataclass(frozen=True, kw_only=True)
class GroupProgress:
    """What a job group tells: its counts, enough to know whether anything moved, if any; and when it calls people."""

    by_status: Mapping[str, int] | None = None
    working_hours: tuple[tuple[time, time], ...] = ()


class CloudClient:
    """The actions of one process; safe to share between threads. Blocks, and fails, as `Gateway` says."""

    def __init__(self, settings: CloudSettings) -> None:
        self._gateway = Gateway(settings)

    def is_let_in(self) -> bool:
        """Return False while the cloud refuses our credentials or does not know the instance; never blocks."""
        return self._gateway.is_let_in()

    def list_jobs(self, ids: Sequence[CallJobId]) -> list[Payload]:
        """Return the jobs of these ids, at most 99, as the service shows them, in any order."""
        if len(ids) > MAX_LISTED_IDS:
            raise ValueError(f"{len(ids)} ids, the service takes {MAX_LISTED_IDS}")
        answer = self._gateway.read("ListJobs", {"JobId": list(ids)})
        jobs = answer.get("Jobs")
        if jobs is None and "Jobs" in answer:
            return []
        if not isinstance(jobs, list):
            raise UnclearAnswerError("ListJobs answered in another shape")
        return jobs

    def describe_job_group(self, group_id: JobGroupId) -> GroupProgress:
        """Return a group's counts by status, None where it does not tell those of open jobs, and its working hours."""
        group = _section(self._gateway.read("DescribeJobGroup", {"JobGroupId": group_id}), "JobGroup")
        progress = group.get("Progress") or {}
        # Beside counts by status there are others: StartTime and Duration, for instance.
        counts = None
        if isinstance(progress, Mapping) and progress.keys() >= OPEN_STATUSES:
            counts = {name: _count(progress, name) for name in JOB_STATUSES & progress.keys()}
        return GroupProgress(by_status=counts, working_hours=working_hours(group))

    def called_since(self, group_id: JobGroupId, since: datetime, limit: int) -> list[CallJobId] | None:
        """Return the jobs of a group whose latest call began at `since` or later; None where they are over `limit`.

        A page that moves while one asks may hide a job, so this names what to look at first and proves nothing.
        """
        jobs: list[CallJobId] = []
        parameters = {"JobGroupId": group_id, "StartActualTimeFilter": to_milliseconds(since)}
        for rows, total in self._pages("QueryJobsWithResult", parameters, "Jobs", "RowCount"):
            if total > limit:
                return None
            jobs += [CallJobId(job["Id"]) for job in rows if isinstance(job.get("Id"), str)]
        return jobs

    def find_job_group(self, name: str) -> JobGroupId | None:
        """Return the group of exactly this name, None where a whole search shows none.

        Raises RetryableError for several, and where the search does not show as many groups as it counts.
        """
        shown: dict[JobGroupId, object] = {}
        totals = [0]
        for rows, total in self._pages("ListJobGroups", {"SearchText": name}, "JobGroups", "TotalCount"):
            totals.append(total)
            shown |= {_group_id(group): group.get("JobGroupName") for group in rows}
        if len(shown) < max(totals):
            raise RetryableError("the job groups could not be listed whole")
        found = [group_id for group_id, group_name in shown.items() if group_name == name]
        if len(found) > 1:  # either may hold jobs: whoever has only one of them in view may call people twice
            raise RetryableError("the cloud shows several job groups of the task's name; all but one must go")
        return next(iter(found), None)

    def create_job_group(self, name: str, options: GroupOptions) -> JobGroupId:
        """Create a group; after an error it may or may not exist, so search before another try."""
        parameters: dict[str, Any] = {"JobGroupName": name, "StrategyJson": strategy_json(options)}
        if options.script_id:
            parameters["ScriptId"] = options.script_id
        if options.calling_numbers:
            parameters["CallingNumber"] = list(options.calling_numbers)
        return _group_id(_section(self._gateway.write("CreateJobGroup", parameters), "JobGroup"))

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
        self._gateway.call("AssignJobs", {"JobGroupId": group_id, "JobsJson": elements}, guard)

    def download_recording(self, call_task_id: CallTaskId) -> str:
        """Return a fresh URL of an attempt's recording."""
        answer = self._gateway.read("DownloadRecording", {"TaskId": call_task_id})
        url = _section(answer, "DownloadParams").get("SignatureUrl")
        if not isinstance(url, str) or not url:
            raise RejectedError("the recording has no URL yet", code="NoRecording")
        return url

    def suspend(self, group_id: JobGroupId) -> None:
        """Pause a whole group."""
        self._gateway.read("SuspendJobs", {"All": True, "JobGroupId": group_id})

    def resume(self, group_id: JobGroupId) -> None:
        """Let a paused group go on."""
        self._gateway.read("ResumeJobs", {"All": True, "JobGroupId": group_id})

    def cancel(self, group_id: JobGroupId) -> None:
        """Cancel every open job of a group."""
        self._gateway.read("CancelJobs", {"All": True, "JobGroupId": group_id})

    def describe_instance(self) -> str:
        """Return the instance's name: whether credentials and instance are right."""
        return str(_section(self._gateway.read("DescribeInstance", {}), "Instance").get("InstanceName"))

    def _list_into(self, jobs: dict[CallJobId, ReferenceId | None], group_id: JobGroupId) -> set[int]:
        """Add one pass over all pages to `jobs`; returns every total that the pages named."""
        totals: set[int] = set()
        for rows, total in self._pages("ListJobsByGroup", {"JobGroupId": group_id}, "Jobs", "TotalCount"):
            totals.add(total)
            try:
                jobs |= {job_id_of(job): reference_of(job) for job in rows}
            except MappingError as error:
                raise UnclearAnswerError(f"a listed job is none: {error}") from None
        return totals

    def _pages(
        self, action: str, parameters: Mapping[str, Any], section: str, total_name: str
    ) -> Iterator[tuple[Sequence[Payload], int]]:
        """Yield the rows of each page and the total that it names, until so many were seen, or a page is empty.

        The largest page that the service gives is not documented; one that gives less is asked for more pages.
        """
        page, seen, total = 0, 0, 1
        rows: Sequence[Payload] = ()
        while seen < total and (rows or not page):
            page += 1
            asked = {**parameters, "PageNumber": page, "PageSize": PAGE_SIZE}
            listed = _section(self._gateway.read(action, asked), section)
            rows, total = _rows(listed), _count(listed, total_name)
            seen += len(rows)
            yield rows, total


def _rows(listed: Mapping[str, Any]) -> Sequence[Payload]:
    rows = listed.get("List") or []
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise UnclearAnswerError("the answer's List is none")
    return rows


def _count(listed: Mapping[str, Any], name: str) -> int:
    count = listed.get(name)
    if isinstance(count, int) and not isinstance(count, bool):
        return count
    if isinstance(count, str) and count.isdecimal():
        return int(count)
    raise UnclearAnswerError(f"the answer has no {name}")


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
