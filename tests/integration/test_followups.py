"""The follow-up role as a process on a real Kafka, with a model that is slow, dead, or wrong about us."""

import random
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

import msgspec
import psutil
import pytest
from confluent_kafka.admin import AdminClient

from devtools.model_server import Mode, ModelServer, conversation_of
from devtools.processes import stop, wait_until
from schemas.codec import decode, encode
from schemas.followups import FollowedUp, JobAnalysisRequested
from schemas.ids import CallJobId, EventId, ReferenceId, TaskId, follow_up_id_for
from schemas.instants import from_milliseconds
from schemas.jobs import StatusChanged, Turn
from schemas.topics import FOLLOWED_UP, JOB_ANALYSIS_REQUESTED, JOBS_POLLED, STATUS_CHANGED
from streams.changelogs import CHANGES_APP, FOLLOW_UPS_APP
from tests.fixtures.streams import T0, Streams, page

AT_ONCE, PARTITIONS = 4, 4


@pytest.fixture
def model() -> Iterator[ModelServer]:
    """A model that takes its time."""
    with ModelServer(seconds=0.2, key="sk-test") as server:
        yield server


def use(streams: Streams, model: ModelServer, **more: str) -> None:
    """Have the workers ask this model."""
    streams.settings |= {
        "CALLSTREAM_ANALYSIS_BASE_URL": model.base_url,
        "CALLSTREAM_ANALYSIS_MODEL": "qwen-plus",
        "CALLSTREAM_ANALYSIS_API_KEY": "sk-test",
        "CALLSTREAM_ANALYSIS_CONCURRENCY": str(AT_ONCE),
        "NO_PROXY": "127.0.0.1",
        **more,
    }


def ended(number: int, version: int = 1) -> tuple[str, bytes]:
    """The end of a call about which nobody else says the same."""
    job = f"job-{number}"
    status = StatusChanged(
        event_id=EventId(f"{job}-{version}"),
        task_id=TaskId("task"),
        reference_id=ReferenceId(f"ref-{number}"),
        call_job_id=CallJobId(job),
        version=version,
        observed_at=from_milliseconds(T0),
        call_status="Succeeded",
        call_conversation=(Turn(speaker="Contact", script=f"第{number}个，我感兴趣"),),
        changed=("call_status",),
        is_terminal=True,
    )
    return job, encode(status)


def send(streams: Streams, topic: str, records: Iterable[tuple[str, bytes]]) -> None:
    """Produce records and wait for their acknowledgement."""
    producer = streams.producer()
    for key, value in records:
        producer.produce(streams.prefix + topic, key=key, value=value)
        producer.poll(0)
    assert producer.flush(20) == 0


def follow_ups(streams: Streams) -> dict[str, list[FollowedUp]]:
    """Every record that came out, by job, in order."""
    found: dict[str, list[FollowedUp]] = defaultdict(list)
    for message in streams.read(FOLLOWED_UP.name):
        value = message.value()
        record = decode(value if isinstance(value, bytes) else None, FollowedUp)
        found[record.call_job_id].append(record)
    return found


def lag(streams: Streams) -> int:
    """How many statuses the follow-up group has not acknowledged, as the monitor counts."""
    return streams.count(STATUS_CHANGED.name) - streams.committed(FOLLOW_UPS_APP, STATUS_CHANGED.name)


@pytest.mark.timeout(240)
def test_every_ended_job_has_its_one_record_whenever_the_process_is_killed(
    streams: Streams, model: ModelServer
) -> None:
    """SIGKILL and SIGTERM in the middle of a window: no job without a record, no second id, versions only grow.

    Asked twice is only what was under way when the process died; repeats of statuses ask nothing.
    """
    signals = [signal.SIGKILL, signal.SIGTERM, signal.SIGKILL]
    jobs = end_and_end_again(streams, model, signals, jobs_each=160)
    asked = Counter((conversation_of(document) or [{}])[0]["text"] for document in model.asked)
    assert sum(asked.values()) - jobs <= len(signals) * AT_ONCE * PARTITIONS


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_thirty_ends_before_a_faulty_model_cost_no_record(streams: Streams, model: ModelServer) -> None:
    """A third of the questions meet 429, 500 or a connection that is dropped, while the process is ended again."""
    chance = random.Random(11)
    faults: tuple[Mode, ...] = ("limited", "failing", "drop", "ok", "ok", "ok", "ok", "ok", "ok")
    model.plan.extend(chance.choices(faults, k=100_000))
    signals = chance.choices([signal.SIGKILL, signal.SIGTERM], k=30)
    end_and_end_again(streams, model, signals, jobs_each=100)


def end_and_end_again(
    streams: Streams, model: ModelServer, signals: Sequence[signal.Signals], *, jobs_each: int
) -> int:
    """End the worker in the middle of its windows, each time with more to do, and judge what came out of how many."""
    use(streams, model)
    chance = random.Random(7)
    worker = streams.start("followups")
    jobs = 0
    for number in signals:
        before = len(model.asked)
        send(streams, STATUS_CHANGED.name, [ended(number) for number in range(jobs, jobs + jobs_each)])
        jobs += jobs_each
        wait_until(lambda: len(model.asked) > before + 20, seconds=60, what="questions")  # noqa: B023 - called at once
        time.sleep(chance.uniform(0, 0.3))
        assert lag(streams) > 0
        worker.send_signal(number)
        assert worker.wait(20) == (0 if number is signal.SIGTERM else -signal.SIGKILL)
        worker = streams.start("followups")
    send(streams, STATUS_CHANGED.name, [ended(number, version=2) for number in range(jobs)])
    wait_until(lambda: lag(streams) == 0, seconds=300, what="all statuses acknowledged")
    stop(worker)
    found = follow_ups(streams)
    assert found.keys() == {f"job-{number}" for number in range(jobs)}
    for job, records in found.items():
        assert {record.leads_follow_id for record in records} == {follow_up_id_for(CallJobId(job))}
        versions = [record.version for record in records]
        assert versions == sorted(versions)
        assert {(record.is_interested, record.analyzer) for record in records} == {(1, "qwen-plus/1")}
    assert model.violations == []
    assert model.most_at_once <= AT_ONCE * PARTITIONS
    return jobs


@pytest.mark.timeout(180)
def test_a_dead_model_delays_follow_ups_only(streams: Streams, model: ModelServer) -> None:
    """Statuses flow, the follow-up group's lag shows what waits; a wrong key is said by readiness; nothing is lost."""
    use(streams, model, CALLSTREAM_ANALYSIS_TIMEOUT_SECONDS="1")
    model.mode = "hang"
    changes, followups = streams.start("changes", "changes"), streams.start("followups")
    pages = [(f"page-{number}", encode(page(number, T0, dict.fromkeys(range(20), "Succeeded")))) for number in range(3)]
    send(streams, JOBS_POLLED.name, pages)
    wait_until(lambda: streams.count(STATUS_CHANGED.name) == 60, seconds=40, what="statuses")
    wait_until(lambda: streams.committed(CHANGES_APP, JOBS_POLLED.name) == 3, seconds=10, what="pages acknowledged")
    wait_until(lambda: len(model.asked) >= AT_ONCE, seconds=30, what="questions")
    assert (lag(streams), streams.count(FOLLOWED_UP.name)) == (60, 0)
    model.mode = "unauthorized"
    wait_until(lambda: not streams.is_ready(), seconds=20, what="not ready")
    assert (lag(streams), streams.count(FOLLOWED_UP.name)) == (60, 0)
    model.mode = "ok"
    wait_until(lambda: lag(streams) == 0, seconds=60, what="statuses followed up")
    wait_until(streams.is_ready, seconds=20, what="ready")
    for worker in (changes, followups):
        stop(worker)
    records = [record for records in follow_ups(streams).values() for record in records]
    assert Counter(record.analyzer for record in records) == {"qwen-plus/1": 60}


@pytest.mark.timeout(180)
def test_a_second_worker_takes_over_without_asking_all_again(
    streams: Streams, kafka_admin: AdminClient, model: ModelServer
) -> None:
    """A rebalance in the middle of the windows: what was under way may be asked twice, and every job has its record."""
    use(streams, model)
    model.seconds = 0.5
    jobs = 160
    send(streams, STATUS_CHANGED.name, [ended(number) for number in range(jobs)])
    workers = [streams.start("followups")]
    wait_until(lambda: len(model.asked) > 20, seconds=40, what="questions")
    workers.append(streams.start("followups", "two"))
    wait_until(lambda: lag(streams) == 0, seconds=90, what="all statuses acknowledged")
    for worker in workers:
        stop(worker)
    found = follow_ups(streams)
    assert found.keys() == {f"job-{number}" for number in range(jobs)}
    assert len(model.asked) <= jobs + 2 * AT_ONCE * PARTITIONS
    assert kafka_admin is not None


@pytest.mark.timeout(120)
def test_who_asks_while_the_model_is_away_keeps_what_was_known(streams: Streams, model: ModelServer) -> None:
    """A forced analysis that fails says so and keeps the verdict; the audit's question makes it good later."""
    use(streams, model, CALLSTREAM_ANALYSIS_PATIENCE_SECONDS="0.5")
    worker = streams.start("followups")
    send(streams, STATUS_CHANGED.name, [ended(1)])
    wait_until(lambda: streams.count(FOLLOWED_UP.name) == 1, seconds=40, what="the record")
    for number, (mode, is_forced, analyzer) in enumerate(
        [("failing", True, "unavailable/qwen-plus"), ("ok", False, "qwen-plus/1")]
    ):
        model.mode = "failing" if mode == "failing" else "ok"
        request = JobAnalysisRequested(
            event_id=EventId(f"r{number}"),
            task_id=TaskId("task"),
            call_job_id=CallJobId("job-1"),
            call_status="Succeeded",
            call_conversation=(Turn(speaker="Contact", script="第1个，我感兴趣"),),
            status_version=1,
            follow_version=0,
            is_forced=is_forced,
            requested_at=from_milliseconds(int(time.time_ns() / 1e6)),
        )
        send(streams, JOB_ANALYSIS_REQUESTED.name, [("job-1", encode(request))])
        wait_until(lambda: streams.count(FOLLOWED_UP.name) == number + 2, seconds=20, what="an answer")  # noqa: B023
        last = follow_ups(streams)["job-1"][-1]
        assert (last.is_interested, last.analyzer, last.is_forced) == (1, analyzer, is_forced)
    stop(worker)


def long_calls(count: int) -> Iterator[tuple[str, bytes]]:
    """The ends of calls with 60 turns each, 61 kB that nothing can compress."""
    chance = random.Random(3)
    noise = "".join(map(chr, chance.choices(range(0x4E00, 0x9FA5), k=1_000_000)))
    status = decode(ended(0)[1], StatusChanged)
    for number in range(count):
        places = [chance.randrange(len(noise) - 340) for _ in range(60)]
        talk = tuple(Turn(speaker="Contact", script=noise[place : place + 340]) for place in places)
        job = CallJobId(f"long-{number}")
        yield job, encode(msgspec.structs.replace(status, call_job_id=job, call_conversation=talk))


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_dead_model_and_long_conversations_fill_no_memory(streams: Streams, model: ModelServer) -> None:
    """240 MB of conversations wait in Kafka, not in the worker."""
    use(streams, model)
    model.mode = "hang"
    send(streams, STATUS_CHANGED.name, long_calls(4_000))
    worker = streams.start("followups")
    wait_until(lambda: len(model.asked) >= AT_ONCE * PARTITIONS, seconds=60, what="questions")
    time.sleep(20)
    resident = psutil.Process(worker.pid).memory_info().rss / 2**20
    print(f"resident: {resident:.0f} MB")  # noqa: T201 - the result of a long form
    assert resident < 350
    stop(worker)
