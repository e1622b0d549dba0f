"""The client with the real SDK against the simulator: limits, whole listings, and what each failure becomes."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import uniform
from time import monotonic, sleep
from typing import Any, ClassVar

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from devtools.cloud.faults import FaultKind
from devtools.cloud.process import CloudSimulator
from devtools.processes import wait_until
from producers.cloud.client import CloudClient
from producers.cloud.errors import CredentialsError
from producers.cloud.pace import Pace
from producers.cloud.payloads import Contact, GroupOptions
from runtime import metrics
from runtime.errors import RejectedError, RetryableError
from runtime.settings import CloudSettings
from schemas.ids import CallJobId, JobGroupId, ReferenceId
from schemas.instants import from_milliseconds
from schemas.tasks import WorkingHours
from tests.fixtures.shells import client_of


@pytest.fixture
def client(cloud: CloudSimulator) -> CloudClient:
    """A client of the simulator that gives up after a second."""
    return client_of(cloud, timeout_seconds=1)


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
    started = monotonic()
    listing = client.list_group(group)
    assert monotonic() - started < 10
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
    assert progress.by_status is not None
    assert sum(progress.by_status.values()) <= 5
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


def test_the_jobs_that_were_called_lately_are_named(cloud: CloudSimulator, client: CloudClient) -> None:
    """From as many pages as there are; none where they are more than is worth naming."""
    group = client.create_job_group("g", GroupOptions())
    for chunk in contacts(0, 150):
        client.assign_jobs(group, chunk)
    cloud.finish()
    starts = {job["job_id"]: job["started_at"] for job in cloud.wait_final() if job["started_at"] is not None}
    midst = sorted(starts.values())[20]
    named = client.called_since(group, from_milliseconds(midst), 1_000)
    assert set(named or ()) == {job_id for job_id, start in starts.items() if start >= midst}
    assert len(starts) > 100
    assert client.called_since(group, from_milliseconds(0), len(starts) - 1) is None
    assert set(client.called_since(group, from_milliseconds(0), len(starts)) or ()) == set(starts)


def test_working_hours_come_back_from_the_group(client: CloudClient) -> None:
    """As they were given when it was created."""
    hours = (WorkingHours(begin="09:00", end="12:00"), WorkingHours(begin="14:00", end="18:30"))
    group = client.create_job_group("g", GroupOptions(working_hours=hours))
    found = client.describe_job_group(group).working_hours
    assert found == ((time(9), time(12)), (time(14), time(18, 30)))


def test_the_service_sees_the_calls_as_evenly_as_they_are_allowed(cloud: CloudSimulator) -> None:
    """By its own record of arrivals, while eight threads want more; nor does it see any call twice."""
    client, end, made = client_of(cloud, max_qps=20), monotonic() + 3, list[str]()

    def call() -> None:
        while monotonic() < end:
            made.append(client.describe_instance())

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    calls = cloud.calls()
    assert calls["actions"] == {"DescribeInstance": {"OK": len(made)}}
    assert 30 < len(made) <= 20 * 4
    assert calls["max_per_second"]["*"] <= 20


@pytest.mark.parametrize(("kind", "least"), [("throttle", 1.0), ("throttle-retry-after", 2.0)])
def test_throttling_slows_down_everybody_in_the_process(cloud: CloudSimulator, kind: FaultKind, least: float) -> None:
    """For what the service asks for, or a second; not only the call that was told."""
    client = client_of(cloud, max_qps=20)
    group = client.create_job_group("g", GroupOptions())
    counted = metrics.API_CALLS.labels("DescribeInstance", "Throttling")  # as the alert asks for it
    before = counted._value.get()
    cloud.add_fault("DescribeInstance", kind, seconds=2)
    told = threading.Thread(target=client.describe_instance)
    told.start()
    wait_until(lambda: "DescribeInstance" in cloud.calls()["actions"], seconds=5, what="the throttled call")
    begun = monotonic()
    client.describe_job_group(group)
    assert monotonic() - begun > least - 0.5
    told.join()
    assert cloud.calls()["actions"]["DescribeInstance"]["OK"] == 1
    assert counted._value.get() == before + 1


HTML = b"<html><body>502 Bad Gateway</body></html>"
ENVELOPE = b'"RequestId":"R","Code":"OK","Message":"Success","HttpStatusCode":200,"Success":true'
CORPUS = {
    "a proxy's page": (502, HTML),
    "a proxy's page that says 200": (200, HTML),
    "nothing": (200, b""),
    "truncated": (200, b"{" + ENVELOPE + b',"Jobs":[{"JobId":"job'),
    "not UTF-8": (200, b"{" + ENVELOPE + b',"Jobs":["\xff\xfe"]}'),
    "a list": (200, b"[1]"),
    "a text": (200, b'"ok"'),
    "null": (200, b"null"),
    "no envelope": (200, b'{"Jobs":[]}'),
    "not a success": (200, b'{"Success":false,"Jobs":[]}'),
    "a success in words": (200, b'{"Success":"true","Jobs":[]}'),
    "wrapped": (200, b"{" + ENVELOPE + b',"Jobs":{"Job":[]}}'),
    "without jobs": (200, b"{" + ENVELOPE + b"}"),
    "deep": (200, b"{" + ENVELOPE + b',"Jobs":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
}


class Answering(BaseHTTPRequestHandler):
    """Answers every call with what the class was given, and counts them."""

    answer: ClassVar[tuple[int, bytes]]
    calls: ClassVar[int]

    def do_POST(self) -> None:
        """One answer."""
        type(self).calls += 1
        status, body = self.answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that http.server calls
        """Say nothing."""


@contextmanager
def answering(status: int, body: bytes) -> Iterator[tuple[CloudClient, type[Answering]]]:
    """A client of a service that has one answer, and that service."""

    class Handler(Answering):
        answer = (status, body)
        calls = 0

    known = {"access_key_id": "k", "access_key_secret": SecretStr("s"), "instance_id": "i", "protocol": "http"}
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"127.0.0.1:{server.server_address[1]}"
        try:
            yield CloudClient(CloudSettings(**known, endpoint=endpoint, max_qps=200)), Handler  # type: ignore[arg-type] # a test's mixture
        finally:
            server.shutdown()


@pytest.mark.parametrize("name", CORPUS)
def test_an_answer_of_another_shape_is_an_error_and_no_empty_list(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the real SDK, in one call."""
    monkeypatch.setattr("producers.cloud.gateway.READ_ATTEMPTS", 1)
    with answering(*CORPUS[name]) as (client, service):
        with pytest.raises(RetryableError):
            client.list_jobs([CallJobId("job")])
        assert service.calls == 1


@pytest.mark.parametrize("listed", [b"", b',"List":[]', b',"List":null', b',"List":[{"JobGroupId":"1"}]'])
def test_a_search_that_shows_fewer_groups_than_it_counts_finds_nothing_out(listed: bytes) -> None:
    """Who took it for an empty one would create a second group of the name."""
    body = b"{" + ENVELOPE + b',"JobGroups":{"TotalCount":2' + listed + b"}}"
    with answering(200, body) as (client, _), pytest.raises(RetryableError, match="whole"):
        client.find_job_group("name")


def test_wrong_credentials_are_asked_with_once(cloud: CloudSimulator) -> None:
    """They will not be right a second later, and the sentence does not hold them."""
    with pytest.raises(CredentialsError) as caught:
        client_of(cloud, access_key_secret=SecretStr("hunter2")).describe_instance()
    assert sum(cloud.calls()["actions"]["DescribeInstance"].values()) == 1
    assert "hunter2" not in str(caught.value)


def test_without_credentials_there_is_a_sentence() -> None:
    """The role survives, and says what to set."""
    client = CloudClient(CloudSettings.model_validate({"instance_id": "i"}))
    with pytest.raises(CredentialsError, match="ALIBABA_CLOUD_ACCESS_KEY_ID"):
        client.describe_job_group(JobGroupId("g"))
    assert not client.is_let_in()


@pytest.mark.parametrize("wrong", [{"access_key_secret": SecretStr("hunter2")}, {"instance_id": "unknown"}])
def test_a_refusal_is_said_once_and_makes_the_role_unready(cloud: CloudSimulator, wrong: dict[str, Any]) -> None:
    """Found without a call of anybody else; however many calls follow. An outage refuses nobody."""
    with capture_logs() as logs:
        client = client_of(cloud, **wrong)
        wait_until(lambda: not client.is_let_in(), seconds=10, what="the refusal")
        for _ in range(3):
            with pytest.raises(CredentialsError):
                client.describe_instance()
    assert [entry["event"] for entry in logs] == ["cloud.refused"]
    assert "hunter2" not in str(logs)
    away = client_of(cloud, endpoint="127.0.0.1:9", timeout_seconds=1)
    with pytest.raises(RetryableError):
        away.describe_instance()
    assert away.is_let_in()
    assert client_of(cloud).is_let_in()


def test_the_sdk_logs_nothing_of_a_call(
    client: CloudClient, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """`DEBUG=sdk` in the environment has it log every header and the query: key, signature and phone numbers."""
    monkeypatch.setenv("DEBUG", "sdk")
    group = client.create_job_group("g", GroupOptions())
    client.assign_jobs(group, next(contacts(0, 2)))
    out, err = capfd.readouterr()
    assert "138" not in out + err
    assert "Authorization" not in out + err


def test_more_ids_than_the_service_takes_are_an_error_of_the_caller(client: CloudClient) -> None:
    """Nothing is sent."""
    with pytest.raises(ValueError, match="100 ids"):
        client.list_jobs([CallJobId(str(number)) for number in range(100)])


@pytest.mark.parametrize("max_qps", [20, 7, 2.5])
def test_no_second_has_more_calls_than_allowed(max_qps: float) -> None:
    """By arrivals: eight threads that want more, calls that take any time, while others keep the processor busy."""
    pace, stamps, end = Pace(max_qps), list[float](), monotonic() + 3

    def call() -> None:
        while monotonic() < end:
            with pace.turn():
                sleep(uniform(0, 0.1))  # on its way
                stamps.append(monotonic())

    def burn() -> None:
        while monotonic() < end:
            sum(range(5000))

    threads = [threading.Thread(target=target) for target in [call] * 8 + [burn] * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stamps) > max_qps
    assert max(sum(first <= stamp < first + 1 for stamp in stamps) for first in stamps) <= max_qps
