"""The client with the real SDK against the simulator: limits, whole listings, and what each failure becomes."""

import threading
import time
from collections.abc import Iterator

import pytest

from devtools.cloud.faults import FaultKind
from devtools.cloud.process import CloudSimulator
from producers.cloud.client import CloudClient, Pace
from producers.cloud.errors import CredentialsError
from producers.cloud.payloads import Contact, GroupOptions
from runtime.errors import RejectedError, RetryableError
from runtime.settings import CloudSettings
from schemas.ids import CallJobId, JobGroupId, ReferenceId


@pytest.fixture
def client(cloud: CloudSimulator) -> CloudClient:
    """A client of the simulator that gives up after a second."""
    return connect(cloud)


def connect(cloud: CloudSimulator, *, secret: str | None = None, max_qps: float = 200) -> CloudClient:
    """Return a client of the simulator."""
    return CloudClient(
        CloudSettings.model_validate(
            {
                "ALIBABA_CLOUD_ACCESS_KEY_ID": cloud.access_key_id,
                "ALIBABA_CLOUD_ACCESS_KEY_SECRET": secret or cloud.access_key_secret,
                "instance_id": cloud.instance_id,
                "endpoint": cloud.endpoint,
                "protocol": "http",
                "max_qps": max_qps,
                "timeout_seconds": 1,
            }
        )
    )


def contacts(first: int, last: int) -> Iterator[list[Contact]]:
    """Yield contacts in chunks of 25."""
    for start in range(first, last, 25):
        numbers = range(start, min(start + 25, last))
        yield [Contact(reference_id=ReferenceId(f"r{n}"), name="n", phone_number=f"138{n:08d}") for n in numbers]


def test_a_group_whose_jobs_move_all_the_time_is_listed_whole(cloud: CloudSimulator, client: CloudClient) -> None:
    """1,000 jobs that begin and end while one lists are all found, and quickly."""
    group = client.create_job_group("g", GroupOptions())
    for chunk in contacts(0, 1000):
        client.assign_jobs(group, chunk)
    started = time.monotonic()
    listing = client.list_group(group)
    assert time.monotonic() - started < 10
    assert {reference: jobs[0] for reference, jobs in listing.items()} == {
        ReferenceId(job["reference_id"]): CallJobId(job["job_id"]) for job in cloud.truth()
    }


def test_an_empty_group_is_listed_twice(cloud: CloudSimulator, client: CloudClient) -> None:
    """Two cheap calls, and nothing in it."""
    group = client.create_job_group("g", GroupOptions())
    assert client.list_group(group) == {}
    assert cloud.calls()["actions"]["ListJobsByGroup"] == {"OK": 2}


def test_a_group_is_found_by_its_exact_name(client: CloudClient) -> None:
    """The service's search also finds longer names."""
    client.create_job_group("name-longer", GroupOptions())
    assert client.find_job_group("name") is None
    group = client.create_job_group("name", GroupOptions())
    assert client.find_job_group("name") == group


def test_counts_are_those_of_statuses(client: CloudClient) -> None:
    """Durations and start times beside them are none."""
    group = client.create_job_group("g", GroupOptions())
    client.assign_jobs(group, next(contacts(0, 5)))
    progress = client.describe_job_group(group)
    assert progress.total == 5
    assert progress.by_status.keys() <= {"Scheduling", "Executing", "Paused", "Failed", "Cancelled", "Succeeded"}


@pytest.mark.parametrize("kind", ["throttle", "throttle-retry-after", "unavailable", "success-false", "drop-before"])
def test_reads_are_tried_again(cloud: CloudSimulator, client: CloudClient, kind: FaultKind) -> None:
    """One failure of a read is nobody's business."""
    cloud.add_fault("DescribeInstance", kind, seconds=0.2)
    assert client.describe_instance() == "simulated"


@pytest.mark.parametrize(
    "kind", ["throttle", "unavailable", "success-false", "drop-before", "drop-after", "hang-after", "late", "half"]
)
def test_an_assignment_is_never_tried_again(cloud: CloudSimulator, client: CloudClient, kind: FaultKind) -> None:
    """Whatever happened: one call, and no word of a refusal."""
    group = client.create_job_group("g", GroupOptions())
    cloud.add_fault("AssignJobs", kind, seconds=2)
    with pytest.raises(RetryableError) as caught:
        client.assign_jobs(group, next(contacts(0, 4)))
    assert sum(cloud.calls()["actions"]["AssignJobs"].values()) == 1
    assert "138" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_bad_contact_is_refused_by_its_code(client: CloudClient) -> None:
    """The only answer that says that nobody is called."""
    group = client.create_job_group("g", GroupOptions())
    with pytest.raises(RejectedError) as caught:
        client.assign_jobs(group, [Contact(reference_id=ReferenceId("r"), name="n", phone_number="")])
    assert caught.value.code == "InvalidParameter"


def test_what_the_guard_raises_keeps_the_call_from_being_sent(cloud: CloudSimulator, client: CloudClient) -> None:
    """The lease is checked when the call's turn has come."""
    group = client.create_job_group("g", GroupOptions())

    def refuse() -> None:
        raise RetryableError("lost")

    with pytest.raises(RetryableError, match="lost"):
        client.assign_jobs(group, next(contacts(0, 2)), guard=refuse)
    assert "AssignJobs" not in cloud.calls()["actions"]


def test_other_shapes_are_said_so(cloud: CloudSimulator, client: CloudClient) -> None:
    """No KeyError and no empty list: an answer that is not understood is none."""
    group = client.create_job_group("g", GroupOptions())
    client.assign_jobs(group, next(contacts(0, 2)))
    job = cloud.truth()[0]["job_id"]
    for action in ("ListJobs", "ListJobsByGroup", "ListJobGroups", "DescribeJobGroup", "CreateJobGroup"):
        cloud.add_fault(action, "other-shape", times=10)
    for call in (
        lambda: client.list_jobs([CallJobId(job)]),
        lambda: client.list_group(group),
        lambda: client.find_job_group("g"),
        lambda: client.describe_job_group(group),
        lambda: client.create_job_group("other", GroupOptions()),
    ):
        with pytest.raises(RetryableError):
            call()


def test_wrong_credentials_are_asked_with_once(cloud: CloudSimulator) -> None:
    """They will not be right a second later, and the sentence does not hold them."""
    with pytest.raises(CredentialsError) as caught:
        connect(cloud, secret="hunter2").describe_instance()
    assert sum(cloud.calls()["actions"]["DescribeInstance"].values()) == 1
    assert "hunter2" not in str(caught.value)


def test_without_credentials_there_is_a_sentence() -> None:
    """The role survives, and says what to set."""
    with pytest.raises(CredentialsError, match="ALIBABA_CLOUD_ACCESS_KEY_ID"):
        CloudClient(CloudSettings.model_validate({"instance_id": "i"})).describe_job_group(JobGroupId("g"))


def test_more_ids_than_the_service_takes_are_an_error_of_the_caller(client: CloudClient) -> None:
    """Nothing is sent."""
    with pytest.raises(ValueError, match="100 ids"):
        client.list_jobs([CallJobId(str(number)) for number in range(100)])


@pytest.mark.parametrize("max_qps", [20, 7, 2.5])
def test_no_second_has_more_calls_than_allowed(max_qps: float) -> None:
    """Eight threads that want more, while others keep the processor busy."""
    pace, stamps, end = Pace(max_qps), list[float](), time.monotonic() + 3

    def call() -> None:
        while time.monotonic() < end:
            pace.wait()
            stamps.append(time.monotonic())

    def burn() -> None:
        while time.monotonic() < end:
            sum(range(5000))

    threads = [threading.Thread(target=target) for target in [call] * 8 + [burn] * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stamps) > max_qps
    assert max(sum(first <= stamp < first + 1 for stamp in stamps) for first in stamps) <= max_qps
