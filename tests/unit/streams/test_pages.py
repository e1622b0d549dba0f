"""Pages read no further than needed: what is left undecoded changes no decision."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.codec import DecodeError, decode, encode
from schemas.ids import CallJobId, PageId, ReferenceId, TaskId
from schemas.instants import from_milliseconds
from schemas.jobs import JobSnapshot, JobsPolled, Turn
from streams import pages
from streams.changes import ChangePolicy, Detection, PageRow, decode_row, detect, encode_row
from streams.pages import observe, open_page

T0 = 1_790_000_000_000
POLICY = ChangePolicy(reassert_ms=3_000, reassert_max_ms=10_000, forget_ms=50_000, forget_ended_ms=20_000)
JOB = JobSnapshot(
    task_id=TaskId("task"),
    reference_id=ReferenceId("ref"),
    call_job_id=CallJobId("job"),
    call_status="Executing",
    call_conversation=(Turn(speaker="Contact", script="喂", at=from_milliseconds(T0)),),
    stored_version=0,
)


def page(at: int, *jobs: JobSnapshot, repair: bool = False) -> bytes:
    """A page observed `at` milliseconds after the beginning, as it travels."""
    return encode(JobsPolled(page_id=PageId("page"), observed_at=from_milliseconds(T0 + at), jobs=jobs, repair=repair))


def respelt(value: bytes) -> bytes:
    """The same page by another producer: other order, other spelling of times and texts, unknown fields."""

    def turn_round(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: turn_round(item) for key, item in reversed(node.items())} | {"unknown": 1}
        if isinstance(node, list):
            return [turn_round(item) for item in node]
        return node.replace(".000Z", "+00:00") if isinstance(node, str) else node

    return json.dumps(turn_round(json.loads(value))).encode()


OBSERVATIONS = st.lists(
    st.fixed_dictionaries(
        {
            "at": st.integers(0, 60_000),
            "states": st.lists(st.integers(0, 2), min_size=1, max_size=4),
            "stored": st.sampled_from([0, T0 + 1_000, T0 + 30_000, 2 * T0]),
            "repair": st.integers(0, 9).map(lambda n: n == 0),
            "respelt": st.booleans(),
            "restart": st.booleans(),
        }
    ),
    max_size=30,
)
STATUSES = ("Scheduling", "Executing", "Succeeded")


@given(OBSERVATIONS)
def test_what_stays_undecoded_changes_no_decision(observations: list[dict[str, Any]]) -> None:
    """Whatever comes, in any order and spelling, with restarts: the same events and rows as from whole pages."""
    fast: PageRow = {}
    whole: PageRow = {}
    for seen in observations:
        jobs = [
            replace(
                JOB,
                call_job_id=CallJobId(f"job-{number}"),
                call_status=STATUSES[state],
                stored_version=seen["stored"],
                stored_status=STATUSES[state],
            )
            for number, state in enumerate(seen["states"])
        ]
        value = page(seen["at"], *jobs, repair=seen["repair"])
        if seen["respelt"]:
            value = respelt(value)
        if seen["restart"]:
            fast = decode_row(encode_row(fast))
        one, other = observe(fast, open_page(value), POLICY), detect(whole, decode(value, JobsPolled), POLICY)
        assert (one.events, one.must_write, one.counts) == (other.events, other.must_write, other.counts)
        assert {job: replace(entry, seen=0, idle_until=0) for job, entry in fast.items()} == whole


def test_a_job_that_is_as_it_was_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not until its re-assertion is due, and never again once the database has confirmed it."""
    decoded: list[int] = []

    def counting(row: PageRow, seen: JobsPolled, policy: ChangePolicy) -> Detection:
        decoded.extend(job.stored_version for job in seen.jobs)
        return detect(row, seen, policy)

    monkeypatch.setattr(pages, "detect", counting)
    row: PageRow = {}
    [event] = observe(row, open_page(page(0, JOB)), POLICY).events
    for at in range(1_000, 4_000, 1_000):
        observe(row, open_page(page(at, JOB)), POLICY)
    assert decoded == [0, 0], "when it was new, and for its re-assertion"
    confirmed = replace(JOB, stored_version=event.version, stored_status="Executing")
    for at in range(4_000, 40_000, 1_000):
        observe(row, open_page(page(at, confirmed)), POLICY)
    assert decoded == [0, 0, event.version]


def test_a_wrong_job_leaves_the_row_as_it_was() -> None:
    """A page is taken as a whole or not at all, and the reason names the field."""
    row: PageRow = {}
    observe(row, open_page(page(0, JOB)), POLICY)
    before = encode_row(row)
    document = json.loads(page(1, JOB, replace(JOB, call_job_id=CallJobId("other"))))
    document["jobs"][1]["call_status"] = 7
    with pytest.raises(DecodeError, match=r"at `\$\.jobs\[1\]\.call_status`"):
        observe(row, open_page(json.dumps(document).encode()), POLICY)
    document["jobs"][1] = None
    with pytest.raises(DecodeError, match=r"at `\$\.jobs\[1\]`"):
        observe(row, open_page(json.dumps(document).encode()), POLICY)
    assert encode_row(row) == before


@pytest.mark.parametrize(
    "value", [None, b"", b"[]", b"{}", b"\xff", b'{"page_id": ""}', page(0, JOB).replace(b'"page"', b'"a\\u0000"')]
)
def test_what_is_no_page_is_refused(value: bytes | None) -> None:
    """By `open_page` as by `decode`, with the same words."""
    with pytest.raises(DecodeError) as caught:
        open_page(value)
    with pytest.raises(DecodeError) as wanted:
        decode(value, JobsPolled)
    assert str(caught.value) == str(wanted.value)


def test_texts_that_no_database_holds_are_cleaned() -> None:
    """A NUL in a conversation is replaced, as `decode` does, and the page goes on."""
    value = page(0, replace(JOB, call_conversation=(Turn(speaker="Contact", script="a\x00b"),)))
    [event] = observe({}, open_page(value), POLICY).events
    assert event.call_conversation[0].script == "a\ufffdb"
