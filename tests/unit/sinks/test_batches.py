"""A batch: the newest record per key, the offsets, and when it is flushed."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from runtime.dead_letters import DeadLetter, Origin
from schemas.ids import CallJobId, EventId, ReferenceId, TaskId
from schemas.jobs import StatusChanged
from sinks.batches import Batch, BatchPolicy, Place, Record
from sinks.columns import Type, column, text
from sinks.mapping import STATUSES

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)


def record(job: int, version: int, *, partition: int = 0, offset: int = 0) -> Record:
    """A status of a job."""
    event = StatusChanged(
        event_id=EventId("e"),
        task_id=TaskId("t"),
        reference_id=ReferenceId("r"),
        call_job_id=CallJobId(f"job-{job}"),
        version=version,
        observed_at=NOW,
        call_status="Executing",
        call_conversation=(),
        changed=(),
        is_terminal=False,
    )
    origin = Origin(topic=STATUSES.topic.name, partition=partition, offset=offset, key=None, value=b"12345")
    return Record.of(STATUSES, event, lambda: origin)


def add(batch: Batch, added: Record, *, now: float = 0.0) -> None:
    """Put a record into a batch as the loop does."""
    origin = added.origin
    batch.add(added, Place(origin.topic, origin.partition, origin.offset, len(origin.value or b"")), now=now)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5))))
def test_of_each_job_the_newest_version_stays(arrivals: list[tuple[int, int]]) -> None:
    """Whatever the order: the maximum per key, in the order of keys, and everything is accounted for."""
    batch = Batch()
    for offset, (job, version) in enumerate(arrivals):
        add(batch, record(job, version, offset=offset))
    kept = {r.identity[0]: r.version for portion in batch.portions for r in portion.records}
    newest: dict[str, int] = {}
    for job, version in arrivals:
        newest[f"job-{job}"] = max(version, newest.get(f"job-{job}", 0))
    assert kept == newest
    assert list(kept) == sorted(kept)
    assert batch.taken == len(arrivals) == len(kept) + batch.superseded
    assert batch.is_empty() == (not arrivals)


def test_offsets_are_those_after_the_last_record_of_each_partition_until_forgotten() -> None:
    """What a commit says; a partition that went to somebody else is not spoken for."""
    batch = Batch()
    add(batch, record(1, 1, partition=0, offset=4))
    add(batch, record(2, 1, partition=1, offset=9))
    letter = DeadLetter(origin=record(3, 1, partition=0, offset=5).origin, kind="undecodable", reason="x")
    batch.reject(letter, now=0.0)
    topic = STATUSES.topic.name
    assert batch.offsets == {(topic, 0): 6, (topic, 1): 10}
    batch.forget([(topic, 0), (topic, 3)])
    assert batch.offsets == {(topic, 1): 10}
    assert batch.letters == [letter]


def test_a_batch_is_flushed_by_rows_bytes_or_age() -> None:
    """Whichever comes first, by name."""
    batch = Batch()
    assert batch.trigger(BatchPolicy(rows=1, seconds=1), now=99.0) is None
    add(batch, record(1, 1), now=10.0)
    assert batch.trigger(BatchPolicy(rows=2, seconds=1), now=10.9) is None
    assert batch.trigger(BatchPolicy(rows=2, seconds=1), now=11.0) == "age"
    assert batch.trigger(BatchPolicy(rows=1, seconds=1), now=10.0) == "rows"
    assert batch.trigger(BatchPolicy(rows=2, seconds=1, byte_limit=5), now=10.0) == "bytes"


def test_a_portion_is_in_the_order_of_keys_and_halves_without_loss() -> None:
    """What a statement takes, and what is left of it when the bad record of a portion is looked for."""
    batch = Batch()
    for offset, job in enumerate((3, 1, 2)):
        add(batch, record(job, 7, offset=offset))
    [portion] = batch.portions
    assert [each.identity[0] for each in portion.records] == ["job-1", "job-2", "job-3"]
    ids = [text(f"job-{job}") for job in (1, 2, 3)]
    assert portion.parameters["call_job_id"] == column(Type.TEXT, ids)
    first, second = portion.halves()
    assert first.parameters["call_job_id"] == column(Type.TEXT, ids[:1])
    assert second.parameters["call_job_id"] == column(Type.TEXT, ids[1:])
    assert [*first.records, *second.records] == portion.records
