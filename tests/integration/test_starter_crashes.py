"""A starter killed at every step, with every fault of the cloud: nobody is called twice, and everybody is called.

A child process takes a start request and works on its task: it dies by SIGKILL at an exact step, or the cloud fails at
an exact call, or both. Others take over at once, before its lease would have ended. The judge is the cloud's own record
of what was assigned.
"""

import multiprocessing
import queue
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count
from uuid import uuid4

import psutil
import psycopg
import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from devtools.cloud.faults import FaultKind
from devtools.cloud.process import CloudSimulator
from devtools.postgres import EmbeddedPostgres
from devtools.processes import wait_until
from producers import assignment
from producers.assignment import AssignmentPolicy
from producers.cloud.client import CloudClient
from producers.starter import Starter
from producers.task_store import TaskStore
from runtime.clock import SystemClock
from runtime.kafka import Publisher
from runtime.postgres import Database
from runtime.settings import KafkaSettings
from runtime.topic_admin import ensure_topics, wanted_topics
from schemas.codec import decode
from schemas.ids import CallJobId, JobGroupId, LeadId, ReferenceId, RequestId, TaskId, reference_id_for
from schemas.jobs import JobAssigned
from schemas.tasks import StartRequested
from schemas.topics import JOB_ASSIGNED
from tests.fixtures.mortal_starter import POLICY, SETTLE_SECONDS, TIMEOUT_SECONDS, Fate, Moment, Surroundings, live
from tests.fixtures.topics import has_leaders

LEADS = 28  # a chunk of 25, and one of 3 in which the last lead is refused
WORKERS = 5
NUMBERS = count()
KINDS: tuple[FaultKind, ...] = (
    "throttle",
    "throttle-retry-after",
    "unavailable",
    "success-false",
    "other-shape",
    "drop-before",
    "drop-after",
    "hang-before",
    "hang-after",
    "late",
    "late-drop",
    "half",
)
UNCLEAR: tuple[FaultKind, ...] = ("drop-after", "half", "late", "late-drop", "other-shape", "unavailable")
EFFECTS = ("CreateJobGroup", "AssignJobs")


@dataclass(frozen=True, kw_only=True)
class Fault:
    """The `skip`-th call of an action, counted from 0, goes wrong."""

    action: str
    kind: FaultKind
    skip: int = 0

    @property
    def seconds(self) -> float:
        """How long it hangs, longer than the client waits; or how late its effect comes, within the settle time."""
        return TIMEOUT_SECONDS * 1.5 if self.kind.startswith("hang") else SETTLE_SECONDS * 0.6


@dataclass(frozen=True, kw_only=True)
class Case:
    """What happens to the first starter of a task."""

    name: str
    dies_at: int | None = None
    moment: Moment = "before"
    fault: Fault | None = None


class Ledger:
    """Which jobs the world was told of, by task; reads the topic from its end onwards, in a thread."""

    def __init__(self, bootstrap: str) -> None:
        self._told: dict[TaskId, dict[ReferenceId, CallJobId]] = {}
        self._stopping = threading.Event()
        self._consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "ledger", "enable.auto.commit": False})
        places = [TopicPartition(JOB_ASSIGNED.name, partition) for partition in range(4)]
        ends = [self._consumer.get_watermark_offsets(place, timeout=10)[1] for place in places]
        self._consumer.assign(
            [TopicPartition(place.topic, place.partition, end) for place, end in zip(places, ends, strict=True)]
        )
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while not self._stopping.is_set():
            message = self._consumer.poll(0.1)
            if message is not None and message.error() is None:
                value = message.value()
                event = decode(value if isinstance(value, bytes) else None, JobAssigned)
                self._told.setdefault(event.task_id, {})[event.reference_id] = event.call_job_id

    def of(self, task: TaskId) -> dict[ReferenceId, CallJobId]:
        """What was told of a task up to now."""
        return dict(self._told.get(task, {}))

    def close(self) -> None:
        """Stop reading."""
        self._stopping.set()
        self._thread.join()
        self._consumer.close()


class Bench:
    """A database and a cloud of its own: one case at a time."""

    def __init__(self, place: Surroundings, cloud: CloudSimulator, publisher: Publisher, ledger: Ledger) -> None:
        self.place = place
        self.cloud = cloud
        self._publisher = publisher
        self._ledger = ledger
        self._database = Database(place.dsn, name="start")
        self._database.open()
        self._processes = multiprocessing.get_context("forkserver")

    def close(self) -> None:
        """Give the connections back."""
        self._database.close()

    def begin(self) -> TaskId:
        """Return a new task with leads that nobody has called."""
        task = TaskId(f"task-{next(NUMBERS)}")
        with psycopg.connect(self.place.dsn) as connection:
            connection.execute("update call_tasks set assign_due_at = null")
            for number in range(LEADS):
                lead = LeadId(f"lead-{number}")
                phone = "" if number == LEADS - 1 else f"138{number:08d}"
                connection.execute(
                    "insert into leads_task_list (task_id, leads_id, leads_name, leads_phone, reference_id)"
                    " values (%s, %s, 'n', %s, %s)",
                    (task, lead, phone, reference_id_for(task, lead)),
                )
        return task

    def first_life(self, task: TaskId, case: Case) -> list[str]:
        """Let the first starter live as the case says; returns its steps, none where it died."""
        if case.fault is not None:
            fault = case.fault
            self.cloud.add_fault(fault.action, fault.kind, skip=fault.skip, seconds=fault.seconds)
        ours, theirs = self._processes.Pipe(duplex=False)
        request = StartRequested(task_id=task, request_id=RequestId(f"request-{task}"))
        fate = Fate(dies_at=case.dies_at, moment=case.moment)
        child = self._processes.Process(target=live, args=(self.place, request, fate, theirs))
        child.start()
        theirs.close()
        try:
            child.join(60)
            assert child.exitcode == (0 if case.dies_at is None else -9), f"{case.name}: ended by {child.exitcode}"
            steps: list[str] = ours.recv() if child.exitcode == 0 else []
        finally:
            child.kill()
            child.join()
            ours.close()
        self.cloud.clear_faults()
        return steps

    def next_lives(
        self, task: TaskId, *, policy: AssignmentPolicy = POLICY, client: CloudClient | None = None, seconds: float = 60
    ) -> None:
        """Let others take over at once, and a sink write what they say, until every lead is where it belongs.

        Raises AssertionError where that takes longer than `seconds`.
        """
        deadline = time.monotonic() + seconds
        request = StartRequested(task_id=task, request_id=RequestId(f"request-{task}"))
        self._starter(policy, client)[0].request(request)  # its offset was not committed: it comes again
        while not self._is_over(task):
            assert time.monotonic() < deadline, "not everybody was assigned in time"
            with psycopg.connect(self.place.dsn) as connection:
                connection.execute(
                    "update call_tasks set assign_due_at = now(), assign_leased_until = now() - interval '1 s'"
                    " where task_id = %s",
                    (task,),
                )
            starter, store = self._starter(policy, client)
            for leased in store.lease(1):
                starter.work(leased)
            self._sink(task)
            time.sleep(0.15)

    def _starter(self, policy: AssignmentPolicy, client: CloudClient | None) -> tuple[Starter, TaskStore]:
        settings = self.place.cloud()
        store = TaskStore(self._database, worker=str(uuid4()))
        starter = Starter(
            store=store,
            cloud=client or CloudClient(settings),
            publisher=self._publisher,
            policy=policy,
            settings=settings,
            clock=SystemClock(),
        )
        return starter, store

    def _sink(self, task: TaskId) -> None:
        with psycopg.connect(self.place.dsn) as connection:
            for reference, job in self._ledger.of(task).items():
                connection.execute(
                    "update leads_task_list set call_job_id = %s where reference_id = %s and call_job_id = ''",
                    (job, reference),
                )

    def _is_over(self, task: TaskId) -> bool:
        with psycopg.connect(self.place.dsn) as connection:
            row = connection.execute(
                "select count(*) filter (where call_job_id <> ''), count(assign_refused) from leads_task_list"
                " where task_id = %s",
                (task,),
            ).fetchone()
        return row == (LEADS - 1, 1)

    def judge(self, task: TaskId) -> None:
        """Nobody twice, everybody once, each row with its own job; the bad lead is refused and the task is calling."""
        with psycopg.connect(self.place.dsn) as connection:
            rows = connection.execute(
                "select reference_id, call_job_id from leads_task_list where task_id = %s and call_job_id <> ''",
                (task,),
            ).fetchall()
            states = connection.execute("select state from call_tasks where task_id = %s", (task,)).fetchall()
        references = {reference for reference, _ in rows}
        assert [twice for twice in self.cloud.duplicates() if twice["reference_id"] in references] == []
        truth = [job for job in self.cloud.truth() if job["reference_id"] in references]
        assert len(truth) == len(rows) == LEADS - 1
        assert {job["reference_id"]: job["job_id"] for job in truth} == dict(rows)
        assert states == [("calling",)]

    def run(self, case: Case) -> None:
        """One case, from the first lead to the verdict."""
        task = self.begin()
        try:
            self.first_life(task, case)
            self.next_lives(task)
            self.judge(task)
        except AssertionError as error:
            raise AssertionError(f"{case.name}: {error}") from error


@pytest.fixture(scope="module")
def benches(
    kafka: str, kafka_admin: AdminClient, postgres_server: EmbeddedPostgres, template_database: str
) -> Iterator[list[Bench]]:
    """Several databases and clouds, for as many cases side by side; each case has a task of its own."""
    created = ensure_topics(kafka_admin, wanted_topics(4)).created
    wait_until(lambda: has_leaders(kafka_admin, created), seconds=30, what="leaders of new topics")
    multiprocessing.get_context("forkserver").set_forkserver_preload(["tests.fixtures.mortal_starter"])
    with ExitStack() as stack:
        publisher = Publisher(KafkaSettings(bootstrap_servers=kafka))
        stack.callback(publisher.close)
        ledger = Ledger(kafka)
        stack.callback(ledger.close)
        made = []
        for _ in range(WORKERS):
            cloud = stack.enter_context(CloudSimulator())
            name = f"crash_{uuid4().hex[:10]}"
            dsn = postgres_server.create_database(name, template_database)
            stack.callback(postgres_server.drop_database, name)
            place = Surroundings(
                dsn=dsn,
                kafka=kafka,
                endpoint=cloud.endpoint,
                instance_id=cloud.instance_id,
                access_key_id=cloud.access_key_id,
                access_key_secret=cloud.access_key_secret,
            )
            made.append(Bench(place, cloud, publisher, ledger))
            stack.callback(made[-1].close)
        yield made


def steps_of(bench: Bench) -> list[str]:
    """The steps of a starter to whom nothing happens."""
    task = bench.begin()
    steps = bench.first_life(task, Case(name="nothing happens"))
    bench.next_lives(task)
    bench.judge(task)
    return steps


def deaths(steps: Sequence[str]) -> Iterator[Case]:
    """A death before the first step, and inside and after each; inside a call the cloud holds its answer."""
    yield Case(name="dies before everything", dies_at=0)
    for number, step in enumerate(steps):
        held = None
        if step.startswith("cloud "):
            held = Fault(action=step.removeprefix("cloud "), kind="hang-after", skip=steps[:number].count(step))
        yield Case(name=f"dies inside {number} {step}", dies_at=number, moment="inside", fault=held)
        yield Case(name=f"dies after {number} {step}", dies_at=number, moment="after")


def failures(steps: Sequence[str]) -> Iterator[Case]:
    """Each fault of the cloud at each call, and a death with the unclear answer of one that has an effect."""
    for number, step in enumerate(steps):
        if not step.startswith("cloud "):
            continue
        action = step.removeprefix("cloud ")
        fault = Fault(action=action, kind="half", skip=steps[:number].count(step))
        for kind in KINDS:
            if kind != "half" or action == "AssignJobs":
                yield Case(name=f"{kind} at {number} {step}", fault=replace(fault, kind=kind))
        for kind in UNCLEAR if action in EFFECTS else ():
            if kind != "half" or action == "AssignJobs":
                yield Case(
                    name=f"{kind} and death at {number} {step}",
                    dies_at=number,
                    moment="after",
                    fault=replace(fault, kind=kind),
                )


def run_all(benches: Sequence[Bench], cases: Sequence[Case]) -> None:
    """Run cases side by side; all of them, and then say which went wrong."""
    free: queue.Queue[Bench] = queue.Queue()
    for bench in benches:
        free.put(bench)

    def run(case: Case) -> str | None:
        bench = free.get()
        try:
            bench.run(case)
        except AssertionError as error:
            return str(error)
        finally:
            free.put(bench)
        return None

    with ThreadPoolExecutor(len(benches)) as pool:
        wrong = [problem for problem in pool.map(run, cases) if problem is not None]
    assert wrong == []


def test_a_death_or_a_fault_at_a_step_calls_nobody_twice(benches: list[Bench]) -> None:
    """A selection: every step of those that have an effect, a few of the others."""
    steps = steps_of(benches[0])
    chosen = [
        case
        for place, case in enumerate(deaths(steps))
        if any(word in case.name for word in ("AssignJobs", "CreateJobGroup", "set_group", "mark", "settle"))
        or place % 5 == 0
    ]
    chosen += [
        case
        for case in failures(steps)
        if case.fault is not None
        and case.fault.action == "AssignJobs"
        and case.fault.skip == 0
        and (case.dies_at is not None or case.fault.kind in {"hang-after", "late", "half", "success-false"})
    ]
    run_all(benches, chosen)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_death_and_every_fault_at_every_step_calls_nobody_twice(benches: list[Bench]) -> None:
    """All of them; docs/proofs.md has the result."""
    steps = steps_of(benches[0])
    cases = [*deaths(steps), *failures(steps)]
    assert len(cases) >= 100
    started = time.monotonic()
    run_all(benches, cases)
    print(f"{len(steps)} steps, {len(cases)} cases, {time.monotonic() - started:.0f} s")  # noqa: T201 - for the record


def stand_still(bench: Bench, step: str) -> None:
    """Stop the first starter before a step, let others do all the work, and wake it."""
    at, task = steps_of(bench).index(step), bench.begin()
    request = StartRequested(task_id=task, request_id=RequestId(f"request-{task}"))
    processes = multiprocessing.get_context("forkserver")
    ours, theirs = processes.Pipe(duplex=False)
    fate = Fate(dies_at=at, blow=signal.SIGSTOP)
    child = processes.Process(target=live, args=(bench.place, request, fate, theirs))
    child.start()
    try:
        wait_until(lambda: psutil.Process(child.pid).status() == psutil.STATUS_STOPPED, seconds=20, what="standing")
        bench.next_lives(task)
        bench.judge(task)
        psutil.Process(child.pid).resume()
        child.join(20)
        assert child.exitcode == 0, step
        bench.judge(task)
    finally:
        child.kill()
        child.join()
        theirs.close()
        ours.close()


def test_a_starter_that_stood_still_across_its_lease_sends_nothing(benches: list[Bench]) -> None:
    """Others have done its work when it wakes up; it finds out before it sends, and changes nothing."""
    steps = ("table set_group", "table waiting_leads", "table mark", "cloud AssignJobs", "table settle")
    with ThreadPoolExecutor(len(steps)) as pool:
        list(pool.map(stand_still, benches, steps))


class BlindClient(CloudClient):
    """Sees no job in any group."""

    def list_group(self, group_id: JobGroupId) -> dict[ReferenceId, list[CallJobId]]:  # noqa: ARG002 - sees none
        """Nothing."""
        return {}


def is_called_twice(bench: Bench, policy: AssignmentPolicy, client: CloudClient | None) -> bool:
    """Whether a death behind the first assignment, whose effect comes late, calls anybody twice."""
    task = bench.begin()
    steps = bench.first_life(task, Case(name="nothing happens"))
    at, task = steps.index("cloud AssignJobs"), bench.begin()
    late = Fault(action="AssignJobs", kind="late-drop")
    bench.first_life(task, Case(name="late", dies_at=at, moment="after", fault=late))
    with suppress(AssertionError):
        bench.next_lives(task, policy=policy, client=client, seconds=6)
    time.sleep(SETTLE_SECONDS)
    return bench.cloud.duplicates() != []


def test_the_proof_sees_what_the_settle_time_and_the_listing_prevent(
    benches: list[Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without either of them the very same case calls people twice; with both it does not."""
    nothing = AssignmentPolicy(call_timeout=timedelta(0), settle=timedelta(0))
    assert not is_called_twice(benches[0], POLICY, None)
    blind = BlindClient(benches[2].place.cloud())
    with psycopg.connect(benches[1].place.dsn) as connection:  # forget the doubt that the dead one left behind
        connection.execute(
            "create function forget() returns trigger language plpgsql as"
            " 'begin new.assign_doubt_until := null; return new; end'"
        )
        connection.execute("create trigger forget before update on call_tasks for each row execute function forget()")
    assert is_called_twice(benches[2], POLICY, blind)
    monkeypatch.setattr(assignment, "FRESH_SECONDS", 0.0)
    assert is_called_twice(benches[1], nothing, None)
    with psycopg.connect(benches[1].place.dsn) as connection:
        connection.execute("drop function forget cascade")
