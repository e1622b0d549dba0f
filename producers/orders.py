"""Orders of people that the cloud must obey: told until it is certain that nothing was assigned behind their back.

`callstream task pause` tells the cloud at once, whoever else is away. A starter may have had a chunk in its hand then,
or have died with one. So it is told again by whoever leases the task next, and for as long as the task is in doubt.
"""

from typing import Protocol

from producers.announcements import Announcements
from producers.assigner import Assigner
from producers.task_store import LeasedTask, Order, TaskStore
from runtime.errors import RejectedError
from schemas.ids import JobGroupId


class ObeyingCloud(Protocol):
    """What is needed of the cloud; errors as `CloudClient` raises them."""

    def suspend(self, group_id: JobGroupId) -> None: ...  # noqa: D102
    def resume(self, group_id: JobGroupId) -> None: ...  # noqa: D102
    def cancel(self, group_id: JobGroupId) -> None: ...  # noqa: D102


def tell(cloud: ObeyingCloud, order: Order, group_id: JobGroupId) -> None:
    """Give the cloud an order for a whole group; the same order again changes nothing."""
    match order:
        case "suspend":
            cloud.suspend(group_id)
        case "resume":
            cloud.resume(group_id)
        case "cancel":
            cloud.cancel(group_id)


class Orders:
    """Has the cloud obey the order of a leased task."""

    def __init__(
        self, *, store: TaskStore, cloud: ObeyingCloud, assigner: Assigner, announcements: Announcements
    ) -> None:
        self._store = store
        self._cloud = cloud
        self._assigner = assigner
        self._announcements = announcements

    def enforce(self, task: LeasedTask, order: Order) -> bool:
        """Tell the cloud and the world, and publish what was assigned before; returns whether that was the last time.

        It is not while the task is in doubt. Raises the cloud's error: an order that it refuses, such as one for a
        group that is gone, is not repeated.
        """
        refusal: RejectedError | None = None
        if task.job_group_id is not None:
            try:
                tell(self._cloud, order, task.job_group_id)
                self._adopt(task, task.job_group_id)
            except RejectedError as error:
                refusal = error
        self._announcements.ordered(task)
        if not task.is_in_doubt:
            self._store.obeyed(task)
        if refusal is not None:
            raise refusal
        return not task.is_in_doubt

    def _adopt(self, task: LeasedTask, group_id: JobGroupId) -> None:
        leads = [lead for lead in self._store.waiting_leads(task.task_id) if lead.marked_at is not None]
        if leads:
            self._assigner.adopt(task, group_id, leads)
