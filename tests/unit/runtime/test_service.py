"""What a role knows of itself, and the pages that show it, asked as anybody asks."""

import http.client
import socket
import struct

import pytest

from runtime.clock import SystemClock
from runtime.errors import RetryableError
from runtime.service import Check, Health, Service


def test_a_check_that_raises_does_not_pass_and_ends_no_other() -> None:
    """Whoever asks goes on asking: a role that lost its way of knowing is not ready."""

    def broken() -> bool:
        raise RuntimeError("surprise")

    checks: dict[str, Check] = {"broken": broken, "fine": lambda: True}
    health = Health(checks, SystemClock())
    assert list(health.failing) == ["broken", "fine"]
    health.check()
    assert list(health.failing) == ["broken"]
    checks["broken"] = lambda: True
    health.check()
    assert list(health.failing) == []


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", pytest.param("::1", marks=pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6"))],
)
def test_every_page_answers_with_and_without_a_body(host: str) -> None:
    """Also by IPv6, and whatever follows a question mark."""
    with Service(role="test", host=host, port=0, checks={}) as service:
        port = service._server.server_address[1]
        for method in ("GET", "HEAD"):
            for path, status in (("/healthz", 200), ("/readyz?verbose", 200), ("/metrics?name[]=up", 200), ("/x", 404)):
                connection = http.client.HTTPConnection(host, port, timeout=10)
                connection.request(method, path)
                answer = connection.getresponse()
                assert (answer.status, bool(answer.read())) == (status, method == "GET")
                connection.close()


def test_a_port_that_is_taken_is_named() -> None:
    """In a sentence; the supervisor tries again."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(RetryableError, match=f"127.0.0.1 port {port}: Address already in use"):
            Service(role="test", host="127.0.0.1", port=port, checks={})


def test_a_client_that_goes_away_leaves_no_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    """It is reset while its answer is written; the next one is answered."""
    with Service(role="test", host="127.0.0.1", port=0, checks={}) as service:
        address = ("127.0.0.1", int(service._server.server_address[1]))
        for _ in range(20):
            client = socket.create_connection(address)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            client.close()
        connection = http.client.HTTPConnection(*address, timeout=10)
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200
        connection.close()
    assert "Traceback" not in capfd.readouterr().err
