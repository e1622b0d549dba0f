"""The life of a role's process: signals, health, metrics, and the end.

A role is a loop that beats. `/healthz` is true while the loop turns, outages included; `/readyz` is true while every
check passes, asked every few seconds by a thread of its own, so a page never waits for a database.
"""

import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from types import FrameType, MappingProxyType
from typing import Self

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from runtime import metrics
from runtime.clock import Clock, SystemClock
from runtime.errors import RetryableError
from runtime.logs import get_logger

Check = Callable[[], bool]


@dataclass(frozen=True)
class Page:
    """A page that a role shows beside the three that each has; `content` is called for every request."""

    content_type: str
    content: Callable[[], bytes]


CHECK_SECONDS = 2.0
STUCK_SECONDS = 60.0

log = get_logger(__name__)


class Health:
    """What a role knows of itself; written by its loop and its checks, read by HTTP."""

    def __init__(self, checks: Mapping[str, Check], clock: Clock) -> None:
        self._checks = checks
        self._clock = clock
        self._beat = clock.monotonic()
        self._failing: tuple[str, ...] = tuple(checks)

    def beat(self) -> None:
        """Say that the loop turns."""
        self._beat = self._clock.monotonic()

    def check(self) -> None:
        """Ask every check; may block for as long as the slowest one. One that raises does not pass."""
        failing = tuple(name for name, passes in self._checks.items() if not _passes(name, passes))
        if failing != self._failing:
            log.info("role.readiness", failing=failing)
        self._failing = failing

    @property
    def is_alive(self) -> bool:
        """Whether the loop has turned lately."""
        return self._clock.monotonic() - self._beat < STUCK_SECONDS

    @property
    def failing(self) -> tuple[str, ...]:
        """The checks that did not pass when last asked; all of them before the first time."""
        return self._failing


def _passes(name: str, check: Check) -> bool:
    try:
        return check()
    except Exception as error:  # noqa: BLE001 - whatever it was, the thread that asks must go on asking
        log.warning("role.check_failed", check=name, error=type(error).__name__)
        return False


class Service:
    """A context in which a role runs: serves HTTP, runs the checks, turns signals into `stopping`.

    Raises RetryableError where its port is taken.
    """

    def __init__(
        self,
        *,
        role: str,
        host: str,
        port: int,
        checks: Mapping[str, Check],
        pages: Mapping[str, Page] = MappingProxyType({}),
        clock: Clock | None = None,
    ) -> None:
        self.stopping = threading.Event()
        self.health = Health(checks, clock or SystemClock())
        metrics.BUILD.info({"role": role, "version": version("callstream")})
        try:
            self._server = _Server((host, port), self.health, pages)
        except OSError as error:
            raise RetryableError(f"nothing can listen on {host} port {port}: {error.strerror}") from error

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, name="http", daemon=True).start()
        threading.Thread(target=self._check, name="checks", daemon=True).start()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._on_signal)
        log.info("role.started", port=self._server.server_address[1])
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        log.info("role.stopped")

    def wait(self, seconds: float) -> bool:
        """Sleep, at most until a signal comes; returns whether the role shall stop."""
        return self.stopping.wait(seconds)

    def _check(self) -> None:
        while not self.stopping.is_set():
            self.health.check()
            self.stopping.wait(CHECK_SECONDS)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        log.info("role.signal", signal=signal.Signals(number).name)
        self.stopping.set()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], health: Health, pages: Mapping[str, Page]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Handler)
        self.health = health
        self.pages = pages

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - the library's names
        """Say nothing of a client that went away in the middle of its answer."""
        if not isinstance(sys.exception(), ConnectionError):
            log.exception("http.failed")


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        """Answer the three pages of every role, and its own."""
        health, path = self.server.health, self.path.partition("?")[0]
        if path == "/metrics":
            self._answer(200, CONTENT_TYPE_LATEST, generate_latest())
        elif path == "/healthz":
            self._say(health.is_alive, "the loop does not turn")
        elif path == "/readyz":
            self._say(not health.failing, "not ready: " + ", ".join(health.failing))
        elif page := self.server.pages.get(path):
            self._answer(200, page.content_type, page.content())
        else:
            self._answer(404, "text/plain", b"not found\n")

    def do_HEAD(self) -> None:
        """Answer the same without a body."""
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that http.server calls
        """Say nothing: a page that is asked every second is no event."""

    def _say(self, is_good: bool, problem: str) -> None:  # noqa: FBT001 - private, read at two call sites
        self._answer(200 if is_good else 503, "text/plain", b"ok\n" if is_good else problem.encode() + b"\n")

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
