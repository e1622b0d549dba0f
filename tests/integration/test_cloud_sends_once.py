"""What the libraries below the SDK do with a call whose connection or answer is not as it should be: nothing more."""

import gzip
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from pydantic import SecretStr

from producers.cloud.client import CloudClient
from producers.cloud.payloads import Contact
from runtime.errors import RetryableError
from runtime.settings import CloudSettings
from schemas.ids import JobGroupId, ReferenceId

GROUP = JobGroupId("group-1")
CONTACT = Contact(reference_id=ReferenceId("r"), name="n", phone_number="13800000000")
DESCRIBED = b'{"Success": true, "JobGroup": {"Progress": {"Scheduling": 1, "Executing": 2}}}'
GOOD = b'{"Success": true, "Code": "OK", "Instance": {"InstanceName": "n"}}'


class Gateway(ThreadingHTTPServer):
    """Notes what arrives; answers reads well, and AssignJobs by the status `says`, or by hanging up."""

    daemon_threads = True

    def __init__(self, says: int | None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.says = says
        self.arrived: list[str] = []
        self.connections = 0

    def get_request(self) -> Any:
        """Count connections."""
        self.connections += 1
        return super().get_request()


class Handler(BaseHTTPRequestHandler):
    """One connection, kept alive."""

    protocol_version = "HTTP/1.1"
    server: Gateway

    def do_POST(self) -> None:
        """One call."""
        action = self.headers["x-acs-action"] or ""
        self.server.arrived.append(action)
        if action == "ListJobGroups":
            self._drip()
        elif action == "DescribeJobGroup":
            self._answer(200, gzip.compress(DESCRIBED), ("Content-Encoding", "gzip"))
        elif action != "AssignJobs":
            self._answer(200, GOOD)
        elif self.server.says is None:
            self.close_connection = True
            self.connection.close()
        else:
            self._answer(self.server.says, b"")

    def do_GET(self) -> None:
        """A redirect that was followed in another way."""
        self.do_POST()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that http.server calls
        """Say nothing."""

    def _drip(self) -> None:
        """Send an answer byte by byte, each soon enough after the one before."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(GOOD)))
        self.end_headers()
        for byte in GOOD:
            self.wfile.write(bytes([byte]))
            time.sleep(0.25)

    def _answer(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if 300 <= status < 400:
            self.send_header("Location", self.path)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def gateway(says: int | None) -> Iterator[Gateway]:
    """A gateway that runs."""
    server = Gateway(says)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def client_of(server: Gateway, timeout_seconds: float = 2) -> CloudClient:
    """A client that is in no one's way."""
    return CloudClient(
        CloudSettings(
            access_key_id="id",
            access_key_secret=SecretStr("secret"),
            instance_id="instance",
            endpoint=f"127.0.0.1:{server.server_address[1]}",
            protocol="http",
            max_qps=200,
            timeout_seconds=timeout_seconds,
        )
    )


@pytest.mark.parametrize("says", [301, 302, 303, 307, 308, None])
def test_an_assignment_is_sent_once_whatever_comes_back(says: int | None) -> None:
    """Neither a redirect nor a kept connection that is closed under the call makes a library send it again."""
    with gateway(says) as server:
        client = client_of(server)
        client.describe_instance()
        with pytest.raises(RetryableError):
            client.assign_jobs(GROUP, [CONTACT])
        client.describe_instance()
        assert server.arrived == ["DescribeInstance", "AssignJobs", "DescribeInstance"]


def test_calls_share_a_connection_also_after_a_compressed_answer() -> None:
    """A connection costs more than a call."""
    with gateway(None) as server:
        client = client_of(server)
        for _ in range(5):
            client.describe_instance()
            assert client.describe_job_group(GROUP).by_status == {"Scheduling": 1, "Executing": 2}
        assert server.connections == 1


def test_an_answer_that_drips_is_waited_for_no_longer_than_the_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Although no single byte is late; the library's own time-out would wait for all of the sixteen seconds."""
    monkeypatch.setattr("producers.cloud.gateway.READ_ATTEMPTS", 1)
    with gateway(None) as server:
        begun = time.monotonic()
        with pytest.raises(RetryableError):
            client_of(server, timeout_seconds=0.5).find_job_group("name")
        assert time.monotonic() - begun < len(GOOD) * 0.25 / 2
