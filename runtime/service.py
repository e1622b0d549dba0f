"""The life of a role's process: signals, health, metrics, and the end.

A role is a loop that beats. `/healthz` is true while the loop turns, outages included; `/readyz` is true while every
check passes, asked every few seconds by a thread of its own, so a page never waits for a database.
"""

import signal
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import FrameType
from typing import Self

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from runtime.clock import Clock, SystemClock
from runtime.logs import get_logger

Check = Callable[[], bool]

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
        """Ask every check; may block for as long as the slowest one."""
        failing = tuple(name for name, passes in self._checks.items() if not passes())
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


class Service:
    """A context in which a role runs: serves HTTP, runs the checks, turns signals into `stopping`."""

    def __init__(
        self, *, role: str, host: str, port: int, checks: Mapping[str, Check], clock: Clock | None = None
    ) -> None:
        self.stopping = threading.Event()
        self.health = Health(checks, clock or SystemClock())
        self._role = role
        self._server = _Server((host, port), self.health)

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

    def __init__(self, address: tuple[str, int], health: Health) -> None:
        super().__init__(address, _Handler)
        self.health = health


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        """Answer the three pages."""
        health = self.server.health
        if self.path == "/metrics":
            self._answer(200, CONTENT_TYPE_LATEST, generate_latest())
        elif self.path == "/healthz":
            self._say(health.is_alive, "the loop does not turn")
        elif self.path == "/readyz":
            self._say(not health.failing, "not ready: " + ", ".join(health.failing))
        else:
            self._answer(404, "text/plain", b"not found\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that http.server calls
        """Say nothing: a page that is asked every second is no event."""

    def _say(self, is_good: bool, problem: str) -> None:  # noqa: FBT001 - private, read at two call sites
        self._answer(200 if is_good else 503, "text/plain", b"ok\n" if is_good else problem.encode() + b"\n")

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
