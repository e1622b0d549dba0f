"""Children that cannot outlive this process.

Every child is started through a few lines of Python that ask the kernel to signal the child when its parent dies
(Linux), give up root where an account is named, and then become the program by exec, so that the program is the
direct child. The kernel counts the *thread* that started the child as its parent; therefore one thread, which lives
as long as the interpreter, starts all of them, whoever asks.
"""

import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from os import getpid
from pathlib import Path
from typing import IO

_LAUNCH = """
import ctypes, os, sys
death_signal, parent, uid, gid = map(int, sys.argv[1:5])
if uid >= 0:
    os.setgroups([]); os.setgid(gid); os.setuid(uid)
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, death_signal, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the parent died before the child could start")
os.execvp(sys.argv[5], sys.argv[5:])
"""
_SPAWNER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")
_CHANCE = random.SystemRandom()
_GIVEN: set[int] = set()  # ports


class MissingTool(RuntimeError):  # noqa: N818 - reads as the fact it states
    """A program that a server needs is not installed; the message says what to install."""


class StartFailedError(RuntimeError):
    """A child ended, or did not answer in time; the message ends with the tail of its log."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """Whom a child runs as, when this process is root and the program refuses root."""

    uid: int
    gid: int


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on.

    It lies below the range from which the kernel takes the ports of outgoing connections: there a client that retries
    a stopped server could be given the server's own port, connect to itself, and keep the server from coming back.
    None is given twice, for whoever has one may not listen on it yet; nor do tests draw the same that seed `random`.
    """
    while True:
        if (port := _CHANCE.randrange(15_000, 30_000)) in _GIVEN:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _GIVEN.add(port)
        return port


def spawn(
    argv: Sequence[str | Path],
    *,
    stdout: int | IO[bytes],
    stderr: int | IO[bytes] | None = subprocess.STDOUT,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    account: Account | None = None,
    death_signal: signal.Signals = signal.SIGKILL,
) -> subprocess.Popen[bytes]:
    """Start `argv` as a direct child, in its own session so that a terminal's Ctrl-C reaches only us.

    Returns before the program runs; a program that cannot be started is a child that ends with status 1 and a
    traceback on its stderr. May be called from any thread. `death_signal` is what the child gets when this process
    dies, whatever the reason.
    """
    identity = (account.uid, account.gid) if account else (-1, -1)
    numbers = [str(int(number)) for number in (death_signal, getpid(), *identity)]
    command = [sys.executable, "-I", "-S", "-c", _LAUNCH, *numbers, *map(str, argv)]

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            cwd=cwd,
            env=env,
            start_new_session=True,
        )

    future = _SPAWNER.submit(start)
    try:
        return future.result()
    except BaseException:
        future.add_done_callback(_abandon)
        raise


def _abandon(future: Future[subprocess.Popen[bytes]]) -> None:
    """Kill the child of a caller that was interrupted while it waited for it."""
    if not future.cancelled() and future.exception() is None:
        stop(future.result(), grace=0)


def stop(process: subprocess.Popen[bytes], *, first: signal.Signals = signal.SIGTERM, grace: float = 10.0) -> None:
    """Ask by `first`, wait `grace` seconds, then SIGKILL. The child is gone and reaped on return, even on Ctrl-C."""
    try:
        if process.poll() is None and grace > 0:
            process.send_signal(first)
            process.wait(grace)
    except subprocess.TimeoutExpired:
        pass
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def wait_until(condition: Callable[[], bool], *, seconds: float, what: str, interval: float = 0.02) -> None:
    """Return as soon as `condition()` holds; TimeoutError naming `what` when it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            message = f"{what}: not within {seconds:g} s"
            raise TimeoutError(message)
        time.sleep(interval)


def wait_ready(process: subprocess.Popen[bytes], ready: Callable[[], bool], *, log_path: Path, seconds: float) -> None:
    """Return when the child is `ready()`; StartFailedError with the log's tail when it ends or takes too long."""

    def ready_or_dead() -> bool:
        return process.poll() is not None or ready()

    reason = "did not answer in time"
    try:
        wait_until(ready_or_dead, seconds=seconds, what="ready")
    except TimeoutError:
        pass
    else:
        if process.poll() is None:
            return
        reason = f"ended with status {process.returncode}"
    tail = log_path.read_text(errors="replace")[-2000:]
    message = f"{process.args!r} {reason}; the end of its log:\n{tail}"
    raise StartFailedError(message)
