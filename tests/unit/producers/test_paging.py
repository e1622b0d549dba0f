"""Rows become full calls, answers become pages, and what a call does not say is told apart from what it refuses."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from producers.cloud.payloads import StoredJob
from producers.paging import (
    PAGE_SIZE,
    Absences,
    OpenRow,
    SeenJob,
    _most_bytes,
    pages_of,
    plan_calls,
    read_answer,
    split_page,
)
from schemas.codec import encode
from schemas.ids import CallJobId, CallTaskId, PageId, ReferenceId, TaskId, page_id_for
from schemas.jobs import JobSnapshot, JobsPolled, Turn

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
TASK = TaskId("task-1")


def row(number: int, page: int | None = None, status: str | None = "Executing") -> OpenRow:
    """An open job of the task, on the page of its number unless told otherwise."""
    stored = StoredJob(
        task_id=TASK,
        reference_id=ReferenceId(f"ref-{number}"),
        call_job_id=CallJobId(f"job-{number:05d}"),
        status_version=number,
        call_status=status,
    )
    return OpenRow(stored=stored, page=number // PAGE_SIZE if page is None else page)


def raw(number: int, **changes: Any) -> dict[str, Any]:
    """The cloud's answer for that job."""
    return {"JobId": f"job-{number:05d}", "Status": "Executing", "Tasks": None} | changes


def seen(number: int, status: str = "Executing") -> SeenJob:
    """That job as the cloud showed it."""
    (job,) = read_answer([row(number)], [raw(number, Status=status)]).seen
    return job


@given(
    pages=st.lists(st.integers(0, 4), max_size=400),
    suspects=st.sets(st.integers(0, 399), max_size=20),
)
def test_calls_are_full_and_hold_every_row_once(pages: list[int], suspects: set[int]) -> None:
    """At most 99 ids each, all but the last of either kind full, and no suspect beside others."""
    rows = [row(number, page) for number, page in enumerate(pages)]
    doubtful = {one.job_id for number, one in enumerate(rows) if number in suspects}
    calls = plan_calls(rows, doubtful)
    assert sorted(one.job_id for call in calls for one in call) == [one.job_id for one in rows]
    assert all(len(call) <= PAGE_SIZE for call in calls)
    assert sum(len(call) < PAGE_SIZE for call in calls) <= 2
    assert all(len({one.job_id in doubtful for one in call}) == 1 for call in calls)


def test_an_answer_goes_back_to_the_rows_that_asked() -> None:
    """Any order, repeats, strangers and gaps: each row has its job, is missing, or cannot be mapped."""
    answer = read_answer(
        [row(1), row(2), row(3)],
        [raw(2, Status="Succeeded"), raw(9), raw(2, Status="Failed"), raw(1, Status=7)],
    )
    assert [(job.row.job_id, job.snapshot.call_status) for job in answer.seen] == [("job-00002", "Succeeded")]
    assert [job.has_just_ended for job in answer.seen] == [True]
    assert [one.job_id for one in answer.missing] == ["job-00003"]
    (unmapped,) = answer.unmapped
    assert (unmapped.job_id, unmapped.reason) == ("job-00001", "Status is no text")
    assert unmapped.page_id == page_id_for(TASK, 0)


def test_a_nameless_entry_makes_nobody_missing() -> None:
    """It may be any of those without an answer, so nobody is taken for unknown to the cloud."""
    answer = read_answer([row(1), row(2)], [raw(1), {"Status": "Executing"}, "text"])
    assert answer.missing == ()
    assert [unmapped.reason for unmapped in answer.unmapped] == ["JobId is missing"]


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
WHOLE: dict[str, Any] = {
    "JobId": "job-00002",
    "Status": "Succeeded",
    "FailureReason": None,
    "ReferenceId": "ref-2",
    "Tasks": [
        {
            "TaskId": "call-1",
            "PlanedTime": 1579068424883,
            "ActualTime": 1579068424883,
            "Duration": 12,
            "CallingNumber": "0571",
            "Conversation": [{"Timestamp": 1579068424883, "Speaker": "Robot", "Script": "你好"}],
        }
    ],
}


@given(junk=JUNK, place=st.sampled_from(["job", *WHOLE, *WHOLE["Tasks"][0], *WHOLE["Tasks"][0]["Conversation"][0]]))
def test_a_job_of_the_wrong_types_spoils_only_itself(junk: Any, place: str) -> None:
    """Whatever stands in whichever place: the other job is seen, this one is seen, buried, or says not which it is."""
    bad = json.loads(json.dumps(WHOLE))
    (task,) = bad["Tasks"]
    (turn,) = task["Conversation"]
    for part in (bad, task, turn):
        if place in part:
            part[place] = junk
    answer = read_answer([row(1), row(2)], [junk if place == "job" else bad, raw(1, Status="Failed")])
    assert {"job-00001": "Failed"}.items() <= {job.row.job_id: job.snapshot.call_status for job in answer.seen}.items()
    assert len(answer.seen) + len(answer.unmapped) + len(answer.missing) == 2
    assert list(pages_of(answer.seen, NOW, repair=False))


def test_stored_facts_travel_with_the_observation() -> None:
    """Change detection learns what the database held."""
    snapshot = seen(7, "Failed").snapshot
    assert (snapshot.stored_version, snapshot.stored_status) == (7, "Executing")
    assert (snapshot.task_id, snapshot.reference_id) == (TASK, "ref-7")


def test_jobs_are_published_page_by_page() -> None:
    """One message per page, whatever the order of the answer."""
    pages = list(pages_of([seen(number) for number in (100, 1, 99, 0)], NOW, repair=True))
    assert [page.page_id for page in pages] == [page_id_for(TASK, 0), page_id_for(TASK, 1)]
    assert [[job.stored_version for job in page.jobs] for page in pages] == [[0, 1], [99, 100]]
    assert all(page.observed_at == NOW and page.repair for page in pages)


@given(sizes=st.lists(st.integers(0, 3_000), min_size=1, max_size=40))
def test_a_large_page_is_split_and_never_cut(sizes: list[int]) -> None:
    """Every job is in exactly one part; a part is too large only where it holds a single job."""
    jobs = tuple(
        JobSnapshot(
            task_id=TASK,
            reference_id=ReferenceId(f"ref-{number}"),
            call_job_id=CallJobId(f"job-{number}"),
            call_status="Succeeded",
            call_conversation=(Turn(speaker="Robot", script="x" * size),),
            stored_version=0,
        )
        for number, size in enumerate(sizes)
    )
    parts = list(split_page(JobsPolled(page_id=PageId("page"), observed_at=NOW, jobs=jobs), 4_000))
    assert tuple(job for part in parts for job in part.jobs) == jobs
    assert all(part.page_id == "page" and part.observed_at == NOW for part in parts)
    assert all(len(part.jobs) == 1 or len(encode(part)) <= 4_000 for part in parts)


TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)


@given(
    turns=st.lists(st.builds(Turn, speaker=TEXTS, script=TEXTS, at=st.just(NOW)), max_size=5),
    identifier=st.text(st.characters(codec="utf-8"), min_size=1, max_size=128),
    text=st.none() | TEXTS,
)
def test_the_bound_of_a_pages_size_holds(turns: list[Turn], identifier: str, text: str | None) -> None:
    """Whatever its ids and texts are made of: a page is never sent whole that is too large."""
    job = JobSnapshot(
        task_id=TaskId(identifier),
        reference_id=ReferenceId(identifier),
        call_job_id=CallJobId(identifier),
        call_status=text or "Executing",
        call_conversation=tuple(turns),
        stored_version=2**63 - 1,
        stored_status="Scheduling",
        planed_time=NOW,
        call_task_id=CallTaskId(identifier),
        calling_number=text,
        failure_reason=text,
        started_at=NOW,
        ended_at=NOW,
    )
    page = JobsPolled(page_id=PageId("page"), observed_at=NOW, jobs=(job, job))
    assert len(encode(page)) <= _most_bytes(page)


def test_a_job_is_said_not_to_exist_after_the_time_and_not_before() -> None:
    """Being seen in between starts the time again."""
    absences = Absences(10 * MINUTE)
    assert absences.note([], [row(1)], NOW) == []
    assert absences.note([], [row(1)], NOW + 9 * MINUTE) == []
    (gone,) = absences.note([], [row(1)], NOW + 10 * MINUTE)
    assert (gone.snapshot.call_status, gone.snapshot.stored_version) == ("NotExist", 1)
    assert absences.note([row(1)], [], NOW + 11 * MINUTE) == []
    assert absences.note([], [row(1)], NOW + 30 * MINUTE) == []


def test_suspects_are_asked_for_ten_times_until_the_verdict() -> None:
    """Each costs calls of its own, so they rest in between; others never rest."""
    absences = Absences(10 * MINUTE)
    absences.note([], [row(1)], NOW)
    rows = [row(1), row(2)]
    assert absences.suspects(rows) == {"job-00001"}
    assert absences.resting(rows, NOW + MINUTE / 2) == {"job-00001"}
    assert absences.resting(rows, NOW + MINUTE) == frozenset()


def test_absences_do_not_pile_up() -> None:
    """A job that nobody asks for any more is forgotten."""
    absences = Absences(10 * MINUTE)
    absences.note([], [row(1)], NOW)
    absences.forget(NOW + 59 * MINUTE)
    assert absences.suspects([row(1)])
    absences.forget(NOW + 61 * MINUTE)
    assert not absences.suspects([row(1)])
