"""Seeded stories: the leads of a day's call tasks, as a CRM would emit them."""

import random
from collections.abc import Iterator, Sequence

from schemas.ids import LeadId, TaskId
from schemas.leads import LeadAdded

SURNAMES = "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗"
GIVEN_NAMES = (
    "伟",
    "芳",
    "娜",
    "敏",
    "静",
    "磊",
    "洋",
    "艳",
    "勇",
    "杰",
    "秀英",
    "建国",
    "晓明",
    "O'Neil",
    'Anne "Annie"',
)


def tasks(count: int, *, seed: int) -> list[TaskId]:
    """Return the ids of `count` call tasks."""
    return [TaskId(f"task-{seed}-{number + 1}") for number in range(count)]


def leads(task_ids: Sequence[TaskId], count: int, *, seed: int) -> Iterator[LeadAdded]:
    """Yield `count` leads, dealt to the tasks in turn; the same seed gives the same leads."""
    chance = random.Random(seed)
    for number in range(count):
        yield LeadAdded(
            task_id=task_ids[number % len(task_ids)],
            leads_id=LeadId(f"lead-{number + 1}"),
            leads_name=chance.choice(SURNAMES) + chance.choice(GIVEN_NAMES),
            leads_phone=f"1{chance.choice('3578')}{chance.randrange(10**9):09d}",
            extras={"product": chance.choice(("course", "insurance", "broadband"))},
        )
