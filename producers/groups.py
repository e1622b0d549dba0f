"""A task's job group: searched by its deterministic name, created if absent, stored once and for all."""

from dataclasses import replace
from typing import Final, Protocol

from producers.assignment import AssignmentPolicy
from producers.cloud.payloads import GroupOptions
from producers.task_store import LeasedTask, TaskStore
from runtime.errors import RejectedError, RetryableError
from runtime.logs import get_logger
from runtime.settings import CloudSettings
from schemas.ids import JobGroupId, job_group_name_for

DUPLICATED: Final = "Duplicated"

log = get_logger(__name__)


class GroupingCloud(Protocol):
    """What is needed of the cloud; errors as `CloudClient` raises them."""

    def find_job_group(self, name: str) -> JobGroupId | None: ...  # noqa: D102
    def create_job_group(self, name: str, options: GroupOptions) -> JobGroupId: ...  # noqa: D102


class Groups:
    """Finds or creates the group of a leased task."""

    def __init__(
        self, *, store: TaskStore, cloud: GroupingCloud, policy: AssignmentPolicy, settings: CloudSettings
    ) -> None:
        self._store = store
        self._cloud = cloud
        self._policy = policy
        self._settings = settings

    def of(self, task: LeasedTask) -> LeasedTask | None:
        """Return the task with its new group, which is empty; None where one was found, which may not be.

        Somebody whom this database has forgotten may still be assigning in a group that was found: the task is in
        doubt then. Raises RejectedError where the cloud refuses the group, RetryableError where it must be waited.
        """
        name = job_group_name_for(task.task_id)
        found = self._cloud.find_job_group(name)
        if found is None:
            created = self._create(task, name)
            self._store_group(task, created, is_created=True)
            return replace(task, job_group_id=created, doubt_until=None)
        self._store_group(task, found, is_created=False)
        log.info("task.group_found", task_id=task.task_id)
        return None

    def _create(self, task: LeasedTask, name: str) -> JobGroupId:
        """Create a group; its effect may come late, so the doubt is stored before the call."""
        if task.is_in_doubt:
            raise RetryableError("the job group may have been created; waiting until that is certain")
        if self._store.has_marks(task.task_id):
            raise RetryableError("leads of the task were assigned before, but the cloud does not show its job group")
        options = task.group_options(self._settings)
        if not self._store.expect(task, self._policy.certainty):
            raise RetryableError("the task is somebody else's, or stopped")
        try:
            return self._cloud.create_job_group(name, options)
        except RejectedError as error:
            if (error.code or "").endswith(DUPLICATED):
                raise RetryableError("the job group's name is taken, but it is not listed yet") from None
            self._store.doubt(task, self._policy.settle * 0)
            raise

    def _store_group(self, task: LeasedTask, group_id: JobGroupId, *, is_created: bool) -> None:
        known = self._store.set_group(task.task_id, group_id, is_created=is_created, certainty=self._policy.certainty)
        if known != group_id:
            raise RetryableError("the task has got another job group meanwhile")
