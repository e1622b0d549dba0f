"""The simulator answers the real SDK as the cloud would: signed, limited, in any order, and failing on demand."""

import http.client
import json
import time
import urllib.parse
import uuid
from collections.abc import Callable, Iterator

import pytest
from alibabacloud_outboundbot20191226 import models
from alibabacloud_outboundbot20191226.client import Client
from alibabacloud_tea_openapi.exceptions import ClientException, ServerException, ThrottlingException
from alibabacloud_tea_openapi.utils_models import Config
from darabonba.exceptions import UnretryableException

from devtools.cloud.process import CloudSimulator, JobTruth


@pytest.fixture(scope="module")
def cloud() -> Iterator[CloudSimulator]:
    """One quick simulator for the module; tests use groups and references of their own."""
    with CloudSimulator(seed=7, speed=4.0, spread_seconds=4.0) as simulator:
        yield simulator


@pytest.fixture
def client(cloud: CloudSimulator) -> Iterator[Client]:
    """The real SDK; no fault outlives a test."""
    yield connect(cloud)
    cloud.clear_faults()


def connect(cloud: CloudSimulator, *, secret: str | None = None, key: str | None = None) -> Client:
    """Return an SDK client of the simulator that gives up reading after two seconds."""
    return Client(
        Config(
            endpoint=cloud.endpoint,
            protocol="http",
            access_key_id=key or cloud.access_key_id,
            access_key_secret=secret or cloud.access_key_secret,
            read_timeout=2000,
        )
    )


def new_group(client: Client, cloud: CloudSimulator) -> str:
    """Create a group of a new name."""
    request = models.CreateJobGroupRequest(instance_id=cloud.instance_id, job_group_name=f"group {uuid.uuid4()}")
    return str(client.create_job_group(request).body.job_group.job_group_id)


def entry(reference: str, phone: str = "13800000000") -> str:
    """Return one JobsJson element."""
    contact = {"phoneNumber": phone, "name": "张 三+&=%~", "referenceId": reference, "honorific": "张先生"}
    return json.dumps({"contacts": [contact], "extras": [{"key": "k", "value": "值"}]}, ensure_ascii=False)


def references(count: int, story: str | None = None) -> list[str]:
    """Return reference ids that no other test has; a named story has the same plans in every run."""
    return [f"{story or uuid.uuid4()}-{number}" for number in range(count)]


def assign(client: Client, cloud: CloudSimulator, group: str, named: list[str]) -> list[str]:
    """Assign one job for each reference id and return the job ids as answered."""
    request = models.AssignJobsRequest(
        instance_id=cloud.instance_id, job_group_id=group, jobs_json=[entry(reference) for reference in named]
    )
    return [str(job_id) for job_id in client.assign_jobs(request).body.jobs_id]


def list_jobs(client: Client, cloud: CloudSimulator, ids: list[str]) -> list[models.ListJobsResponseBodyJobs]:
    """List jobs by their ids."""
    body = client.list_jobs(models.ListJobsRequest(instance_id=cloud.instance_id, job_id=ids)).body
    jobs: list[models.ListJobsResponseBodyJobs] = body.jobs
    return jobs


def describe(client: Client, cloud: CloudSimulator, group: str) -> models.DescribeJobGroupResponseBodyJobGroup:
    """Describe a group."""
    request = models.DescribeJobGroupRequest(instance_id=cloud.instance_id, job_group_id=group)
    return client.describe_job_group(request).body.job_group


def code_of(caught: pytest.ExceptionInfo[ClientException]) -> tuple[int, str]:
    """Return status and code of a refusal."""
    return caught.value.status_code, caught.value.code


@pytest.mark.parametrize(
    ("key", "secret", "expected"),
    [
        (None, "wrong", (400, "SignatureDoesNotMatch")),
        ("nobody", None, (404, "InvalidAccessKeyId.NotFound")),
    ],
)
def test_wrong_credentials_are_refused(
    cloud: CloudSimulator, key: str | None, secret: str | None, expected: tuple[int, str]
) -> None:
    """Neither another secret nor another key gets in."""
    with pytest.raises(ClientException) as caught:
        connect(cloud, key=key, secret=secret).describe_instance(
            models.DescribeInstanceRequest(instance_id=cloud.instance_id)
        )
    assert code_of(caught) == expected


def test_unsigned_calls_are_refused(cloud: CloudSimulator) -> None:
    """A request without Authorization gets the error envelope."""
    connection = http.client.HTTPConnection(cloud.endpoint, timeout=5)
    connection.request("POST", "/", headers={"x-acs-action": "ListInstances"})
    answer = json.loads(connection.getresponse().read())
    connection.close()
    assert answer["Code"] == "IncompleteSignature"
    assert answer.keys() == {"RequestId", "HostId", "Code", "Message", "Recommend"}


def test_actions_beyond_the_contract_are_unknown(client: Client, cloud: CloudSimulator) -> None:
    """An action that the product must not call does not exist here."""
    with pytest.raises(ClientException) as caught:
        client.list_scripts(models.ListScriptsRequest(instance_id=cloud.instance_id, page_number=1, page_size=10))
    assert code_of(caught) == (404, "InvalidAction.NotFound")


def test_limits_are_enforced(client: Client, cloud: CloudSimulator) -> None:
    """Missing parameters, unknown things, too many ids and too large pages are refused by their codes."""
    group = new_group(client, cloud)
    instance = cloud.instance_id

    def page(size: int, number: int = 1, group_id: str = group) -> object:
        return client.list_jobs_by_group(
            models.ListJobsByGroupRequest(
                instance_id=instance, job_group_id=group_id, page_number=number, page_size=size
            )
        )

    attempts: list[tuple[Callable[[], object], tuple[int, str]]] = [
        (lambda: list_jobs(client, cloud, ["x"] * 100), (400, "InvalidParameter")),
        (lambda: list_jobs(client, cloud, []), (400, "MissingParameter")),
        (lambda: list_jobs(client, cloud, ["no such job"]), (404, "NotExist.Job")),
        (lambda: assign(client, cloud, group, references(100)), (400, "InvalidParameter")),
        (lambda: assign(client, cloud, "no such group", references(1)), (404, "NotExist.JobGroup")),
        (lambda: page(101), (400, "InvalidParameter")),
        (lambda: page(0), (400, "InvalidParameter")),
        (lambda: page(10, 0), (400, "InvalidParameter")),
        (lambda: page(10, group_id="none"), (404, "NotExist.JobGroup")),
        (lambda: client.describe_instance(models.DescribeInstanceRequest()), (400, "MissingParameter")),
        (
            lambda: client.describe_instance(models.DescribeInstanceRequest(instance_id="other")),
            (404, "NotExist.Instance"),
        ),
    ]
    for attempt, expected in attempts:
        with pytest.raises(ClientException) as caught:
            attempt()
        assert code_of(caught) == expected
    assert len(assign(client, cloud, group, references(99))) == 99


@pytest.mark.parametrize(
    "element", ["{", "[]", '{"contacts":[]}', '{"contacts":[{"phonenumber":"1","name":"n","referenceId":"r"}]}']
)
def test_malformed_jobs_are_refused(client: Client, cloud: CloudSimulator, element: str) -> None:
    """An element that is no job refuses the whole call; nothing is created."""
    group = new_group(client, cloud)
    with pytest.raises(ClientException) as caught:
        client.assign_jobs(
            models.AssignJobsRequest(
                instance_id=cloud.instance_id, job_group_id=group, jobs_json=[entry(references(1)[0]), element]
            )
        )
    assert code_of(caught) == (400, "InvalidParameter")
    assert cloud.truth(group) == []


def test_a_group_name_is_taken_once(client: Client, cloud: CloudSimulator) -> None:
    """A second group of one name is refused, and SearchText finds the first."""
    name = f"group {uuid.uuid4()}"
    request = models.CreateJobGroupRequest(instance_id=cloud.instance_id, job_group_name=name, strategy_json="{}")
    group = client.create_job_group(request).body.job_group.job_group_id
    with pytest.raises(ClientException) as caught:
        client.create_job_group(request)
    assert code_of(caught) == (400, "InvalidJobGroupName.Duplicated")
    found = client.list_job_groups(
        models.ListJobGroupsRequest(
            instance_id=cloud.instance_id,
            search_text=name[6:],
            page_number=1,
            page_size=10,
            job_group_status_filter="Draft",
        )
    ).body.job_groups
    assert (found.total_count, found.list[0].job_group_id, found.list[0].job_group_name) == (1, group, name)


def test_job_ids_come_in_another_order(client: Client, cloud: CloudSimulator) -> None:
    """The order of JobsId says nothing of the references; the contact of each job does."""
    named = references(20)
    group = new_group(client, cloud)
    ids = assign(client, cloud, group, named)
    truth = {job["job_id"]: job["reference_id"] for job in cloud.truth(group)}
    assert [truth[job_id] for job_id in ids] != named
    assert sorted(truth.values()) == sorted(named)
    listed = list_jobs(client, cloud, ids)
    assert [job.job_id for job in listed] != ids
    assert {job.job_id: job.contacts[0].reference_id for job in listed} == truth
    assert {job.contacts[0].contact_name for job in listed} == {"张 三+&=%~"}


def test_duplicates_are_reported(client: Client, cloud: CloudSimulator) -> None:
    """A reference id assigned again, even in another group, is a second job and is told."""
    (reference,) = references(1)
    groups = [new_group(client, cloud), new_group(client, cloud)]
    ids = [assign(client, cloud, group, [reference])[0] for group in groups]
    assert ids[0] != ids[1]
    (told,) = [one for one in cloud.duplicates() if one["reference_id"] == reference]
    assert [(one["job_id"], one["group_id"]) for one in told["jobs"]] == list(zip(ids, groups, strict=True))


def test_jobs_progress_to_the_truth(client: Client, cloud: CloudSimulator) -> None:
    """Seen through the SDK until the end: final states stay, and equal the truth in every field."""
    group = new_group(client, cloud)
    ids = assign(client, cloud, group, references(60, "progress"))
    finals: dict[str, models.ListJobsResponseBodyJobs] = {}
    seen: set[str] = set()
    while len(finals) < len(ids):
        for job in list_jobs(client, cloud, ids):
            seen.add(job.status)
            assert job.job_id not in finals or job.status == finals[job.job_id].status
            if job.status in {"Succeeded", "Failed", "Cancelled"}:
                finals[job.job_id] = job
        time.sleep(0.3)
    assert seen == {"Scheduling", "Executing", "Succeeded", "Failed", "Cancelled"}
    truth = cloud.truth(group)
    assert len(truth) == 60
    for told in truth:
        check_final(finals[told["job_id"]], told)
    progress = describe(client, cloud, group).progress
    assert (progress.total_jobs, progress.total_completed, progress.scheduling) == (60, 60, 0)
    assert describe(client, cloud, group).status == "Completed"


def check_final(job: models.ListJobsResponseBodyJobs, told: JobTruth) -> None:
    """Compare a final job with the truth of it."""
    assert (job.status, job.failure_reason) == (told["status"], told["failure_reason"])
    assert (job.reference_id, job.extras[0].value) == (told["reference_id"], "值")
    assert len(job.tasks or []) == told["attempts"]
    if not job.tasks:
        assert told["call_task_id"] is None
        return
    last = max(job.tasks, key=lambda task: task.actual_time or task.planed_time)
    assert (last.task_id, last.calling_number) == (told["call_task_id"], told["calling_number"])
    assert (last.planed_time, last.actual_time) == (told["planed_time"], told["started_at"])
    if told["status"] != "Cancelled":
        assert last.actual_time + last.duration * 1000 == told["ended_at"]
    assert [(turn.speaker, turn.script, turn.timestamp) for turn in last.conversation or []] == [
        (turn["speaker"], turn["script"], turn["at_ms"]) for turn in told["conversation"]
    ]
    assert bool(told["conversation"]) == told["connected"]


def test_recordings_exist_for_answered_calls_only(client: Client, cloud: CloudSimulator) -> None:
    """The signed link works; an unanswered call has none."""
    group = new_group(client, cloud)
    assign(client, cloud, group, references(30, "recordings"))
    jobs = cloud.wait_final(group)
    answered = next(job for job in jobs if job["connected"])
    silent = next(job for job in jobs if job["call_task_id"] and not job["connected"])
    request = models.DownloadRecordingRequest(instance_id=cloud.instance_id, task_id=answered["call_task_id"])
    url = urllib.parse.urlsplit(client.download_recording(request).body.download_params.signature_url)
    expires = int(urllib.parse.parse_qs(url.query)["Expires"][0])
    assert abs(expires - 3600 - time.time_ns() // 10**9) < 60
    connection = http.client.HTTPConnection(url.netloc, timeout=5)
    connection.request("GET", f"{url.path}?{url.query}")
    assert connection.getresponse().read().startswith(b"RIFF")
    connection.close()
    request.task_id = silent["call_task_id"]
    with pytest.raises(ClientException) as caught:
        client.download_recording(request)
    assert code_of(caught) == (404, "NotExist.Recording")


def test_pages_cover_a_group(client: Client, cloud: CloudSimulator) -> None:
    """Both listings of a finished group give every job once, with the filters they know."""
    group = new_group(client, cloud)
    ids = assign(client, cloud, group, references(25))
    jobs = cloud.wait_final(group)
    failed = sum(job["status"] == "Failed" for job in jobs)
    listed: list[str] = []
    for number in (1, 2, 3):
        body = client.list_jobs_by_group(
            models.ListJobsByGroupRequest(
                instance_id=cloud.instance_id, job_group_id=group, page_number=number, page_size=10
            )
        ).body.jobs
        assert body.total_count == 25
        listed += [job.job_id for job in body.list]
    assert sorted(listed) == sorted(ids)
    queried = client.query_jobs_with_result(
        models.QueryJobsWithResultRequest(
            instance_id=cloud.instance_id,
            job_group_id=group,
            page_number=1,
            page_size=10,
            job_status_filter='["Failed"]',
        )
    ).body.jobs
    assert (queried.row_count, queried.page_count) == (failed, -(-failed // 10))
    assert {job.status for job in queried.list} == {"Failed"}
    assert all(job.latest_task.contact.reference_id for job in queried.list)


def test_asynchronous_assignment(client: Client, cloud: CloudSimulator) -> None:
    """The form body is verified and read; the result becomes valid, and then the jobs are there."""
    group = new_group(client, cloud)
    named = references(120)
    task = client.assign_jobs_async(
        models.AssignJobsAsyncRequest(
            instance_id=cloud.instance_id, job_group_id=group, jobs_json=[entry(one) for one in named]
        )
    ).body.async_task_id
    request = models.GetAssignJobsAsyncResultRequest(async_task_id=task)
    result = client.get_assign_jobs_async_result(request).body
    assert (result.valid, result.jobs_id) == (False, [])
    while not result.valid:
        time.sleep(0.1)
        result = client.get_assign_jobs_async_result(request).body
    truth = {job["job_id"]: job["reference_id"] for job in cloud.truth(group)}
    assert sorted(result.jobs_id) == sorted(truth)
    assert sorted(truth.values()) == sorted(named)


def test_suspend_resume_cancel(client: Client, cloud: CloudSimulator) -> None:
    """Suspended jobs wait, resumed ones go on, cancelled ones are Cancelled at once."""
    group = new_group(client, cloud)
    named = references(30, "suspended")
    assign(client, cloud, group, named)
    target = {"instance_id": cloud.instance_id, "job_group_id": group}
    client.suspend_jobs(models.SuspendJobsRequest(**target, all=True))
    time.sleep(4.5)
    held = [job["reference_id"] for job in cloud.truth(group) if job["status"] == "Paused"]
    assert len(held) > 3
    assert describe(client, cloud, group).progress.paused == len(held)
    client.cancel_jobs(models.CancelJobsRequest(**target, all=False, job_reference_id=held[:1]))
    client.resume_jobs(models.ResumeJobsRequest(**target, all=True))
    final = {job["reference_id"]: job["status"] for job in cloud.wait_final(group)}
    assert final[held[0]] == "Cancelled"
    assert "Succeeded" in {final[reference] for reference in held[1:]}


def test_invalid_numbers_fail(client: Client, cloud: CloudSimulator) -> None:
    """A phone number that is none makes a job that fails as EmptyNumber."""
    group = new_group(client, cloud)
    request = models.AssignJobsRequest(
        instance_id=cloud.instance_id, job_group_id=group, jobs_json=[entry(references(1)[0], "not a number")]
    )
    client.assign_jobs(request)
    cloud.finish()
    (job,) = cloud.wait_final(group)
    assert (job["status"], job["failure_reason"]) == ("Failed", "EmptyNumber")
    described = client.describe_job(
        models.DescribeJobRequest(instance_id=cloud.instance_id, job_id=job["job_id"], with_script=True)
    ).body.job
    assert (described.status, described.tasks[0].end_time) == ("Failed", job["ended_at"])


def test_faults_that_answer(client: Client, cloud: CloudSimulator) -> None:
    """Each wrong answer reaches the SDK as its documented exception or silence, once, without the effect."""
    ask = models.DescribeInstanceRequest(instance_id=cloud.instance_id)
    cloud.add_fault("DescribeInstance", "throttle", skip=1)
    client.describe_instance(ask)
    with pytest.raises(ClientException) as caught:
        client.describe_instance(ask)
    assert caught.value.code == "Throttling.User"
    cloud.add_fault("*", "throttle-retry-after", seconds=1.5)
    with pytest.raises(ThrottlingException) as throttled:
        client.describe_instance(ask)
    assert throttled.value.retry_after == 1500
    cloud.add_fault("DescribeInstance", "unavailable")
    with pytest.raises(ServerException) as failed:
        client.describe_instance(ask)
    assert failed.value.status_code == 503
    cloud.add_fault("DescribeInstance", "success-false")
    assert client.describe_instance(ask).body.success is False
    assert client.describe_instance(ask).body.success is True
    group = new_group(client, cloud)
    ids = assign(client, cloud, group, references(2))
    cloud.add_fault("ListJobs", "other-shape")
    assert client.list_jobs(models.ListJobsRequest(instance_id=cloud.instance_id, job_id=ids)).body is None


@pytest.mark.parametrize(("kind", "created"), [("drop-before", 0), ("drop-after", 4), ("hang-after", 4)])
def test_faults_that_cut(client: Client, cloud: CloudSimulator, kind: str, created: int) -> None:
    """A call without an answer has had its effect, or not."""
    group = new_group(client, cloud)
    cloud.add_fault("AssignJobs", kind, seconds=2.5)  # type: ignore[arg-type] # parametrised
    with pytest.raises(UnretryableException):
        assign(client, cloud, group, references(4))
    assert len(cloud.truth(group)) == created
    assert cloud.calls()["actions"]["AssignJobs"][kind] == 1


@pytest.mark.parametrize("kind", ["late", "half", "late-drop"])
def test_faults_that_half_work(client: Client, cloud: CloudSimulator, kind: str) -> None:
    """A failed assignment whose jobs appear later, or of which only half appear."""
    group = new_group(client, cloud)
    cloud.add_fault("AssignJobs", kind, seconds=1.5)  # type: ignore[arg-type] # parametrised
    with pytest.raises(UnretryableException if kind == "late-drop" else ServerException):
        assign(client, cloud, group, references(4))
    assert len(cloud.truth(group)) == (2 if kind == "half" else 0)
    time.sleep(2)
    assert len(cloud.truth(group)) == (2 if kind == "half" else 4)


def test_calls_are_counted(client: Client, cloud: CloudSimulator) -> None:
    """Outcomes, the largest ListJobs and the busiest second are known afterwards; nonsense rules are refused."""
    ids = assign(client, cloud, new_group(client, cloud), references(3))
    list_jobs(client, cloud, ids)
    counts = cloud.calls()
    assert counts["actions"]["ListJobs"]["OK"] >= 1
    assert counts["max_job_ids"] >= 3
    assert counts["max_per_second"]["*"] >= 1
    assert any(group["jobs"] == 3 for group in cloud.groups())
    with pytest.raises(ValueError, match="unknown action"):
        cloud.add_fault("NoSuch", "late")


def test_unknown_ids_may_be_omitted() -> None:
    """With `--unknown-ids omit` a listing leaves out what it does not know; the child ends with the block."""
    with CloudSimulator(unknown_ids="omit") as cloud:
        client = connect(cloud)
        ids = assign(client, cloud, new_group(client, cloud), references(1))
        assert [job.job_id for job in list_jobs(client, cloud, ["unknown", *ids])] == ids
    with pytest.raises(OSError, match="refused"):
        cloud.truth()
