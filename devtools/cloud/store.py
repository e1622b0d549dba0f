"""Everything one simulated cloud remembers. Nothing reads a clock here: every method that needs one takes `now_ms`."""

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from devtools.cloud.errors import ApiError, not_exist
from devtools.cloud.jobs import Entry, Job, seeded_uuid
from devtools.cloud.plan import draw_plan
from devtools.cloud.settings import Settings

CALLING_NUMBERS = ("057126883106", "057126883107", "02160551234")


@dataclass(frozen=True, kw_only=True)
class Group:
    """A batch of jobs with its own name, which no other group has."""

    group_id: str
    name: str
    description: str
    script_id: str
    created_ms: int
    calling_numbers: tuple[str, ...]
    recall_calling_numbers: tuple[str, ...]
    strategy: dict[str, object]
    ringing_seconds: int
    priority: str
    min_concurrency: int


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The jobs of one AssignJobsAsync; they exist, and the result is valid, from `ready_ms` on."""

    group_id: str
    job_ids: tuple[str, ...]
    ready_ms: int


@dataclass(kw_only=True)
class Store:
    """Groups, jobs and batches; a job of an asynchronous batch is invisible before its creation."""

    settings: Settings
    groups: dict[str, Group] = field(default_factory=dict)
    batches: dict[str, Batch] = field(default_factory=dict)
    _jobs: dict[str, Job] = field(default_factory=dict)
    _of_group: defaultdict[str, list[Job]] = field(default_factory=lambda: defaultdict(list))
    _of_reference: defaultdict[str, list[Job]] = field(default_factory=lambda: defaultdict(list))
    _of_task: dict[str, tuple[Job, int]] = field(default_factory=dict)
    _drawn: int = 0

    def rng(self) -> random.Random:
        """Return the next random stream; the n-th call of a run always gets the same one."""
        self._drawn += 1
        return random.Random(f"{self.settings.seed}/stream/{self._drawn}")

    def new_id(self, kind: str, now_ms: int) -> str:
        """Return an id that this run and others (which begin at another instant) never gave before."""
        self._drawn += 1
        return seeded_uuid(f"{self.settings.seed}/{kind}/{now_ms}/{self._drawn}")

    def add_group(self, group: Group) -> None:
        """Keep a new group; ApiError if its name is taken."""
        if any(group.name == other.name for other in self.groups.values()):
            raise ApiError(400, "InvalidJobGroupName.Duplicated", f"The job group name {group.name} already exists.")
        self.groups[group.group_id] = group

    def group(self, group_id: str) -> Group:
        """Return a group; ApiError if it is unknown."""
        if group_id not in self.groups:
            raise not_exist("JobGroup", group_id)
        return self.groups[group_id]

    def assign(self, group: Group, entries: Iterable[Entry], numbers: Sequence[str], created_ms: int) -> list[Job]:
        """Create a job for every entry, in order; a reference id seen before gets another job."""
        return [self._add(group, entry, tuple(numbers) or group.calling_numbers, created_ms) for entry in entries]

    def job(self, job_id: str, now_ms: int) -> Job | None:
        """Return a job that exists at `now_ms`."""
        job = self._jobs.get(job_id)
        return job if job is not None and job.created_ms <= now_ms else None

    def jobs(self, now_ms: int, group_id: str | None = None) -> list[Job]:
        """Return the jobs of one group or of all that exist at `now_ms`, oldest first."""
        jobs: Iterable[Job] = self._jobs.values() if group_id is None else self._of_group.get(group_id, ())
        return [job for job in jobs if job.created_ms <= now_ms]

    def jobs_of_reference(self, reference_id: str, now_ms: int) -> list[Job]:
        """Return every job of one reference id that exists at `now_ms`."""
        return [job for job in self._of_reference.get(reference_id, ()) if job.created_ms <= now_ms]

    def call(self, task_id: str) -> tuple[Job, int] | None:
        """Return the job and the number of a call, whether it began or not."""
        return self._of_task.get(task_id)

    def duplicates(self) -> dict[str, list[Job]]:
        """Return the reference ids that have more than one job, with all of them."""
        return {reference: jobs for reference, jobs in self._of_reference.items() if len(jobs) > 1}

    def _add(self, group: Group, entry: Entry, numbers: tuple[str, ...], created_ms: int) -> Job:
        settings = self.settings
        job = Job(
            seed=settings.seed,
            job_id=self.new_id("job", created_ms),
            group_id=group.group_id,
            entry=entry,
            created_ms=created_ms,
            calling_numbers=numbers,
            plan=draw_plan(settings.seed, entry.reference_id, entry.phone, settings.pace),
        )
        self._jobs[job.job_id] = job
        self._of_group[group.group_id].append(job)
        self._of_reference[entry.reference_id].append(job)
        for number in range(len(job.plan.steps)):
            self._of_task[job.task_id(number)] = (job, number)
        return job
