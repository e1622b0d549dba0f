"""Children end with their parent, whatever ends the parent and whichever thread started them."""

import random
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from devtools.processes import StartFailedError, free_port, spawn, stop, wait_ready, wait_until

_SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]
_PARENT = """
import sys, time, subprocess
from devtools.processes import spawn
child = spawn([sys.executable, "-c", "import time; time.sleep(600)"], stdout=subprocess.DEVNULL)
print(child.pid, flush=True)
time.sleep(600)
"""


def test_child_dies_with_a_killed_parent() -> None:
    """SIGKILL of the parent, which runs no clean-up, leaves no child."""
    with subprocess.Popen([sys.executable, "-c", _PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        assert child.is_running()
        parent.kill()
    wait_until(lambda: not child.is_running(), seconds=10, what="the child ends")


def test_child_outlives_the_thread_that_asked_for_it() -> None:
    """A child started from a thread that ends goes on until it is stopped, and is gone then."""
    started: list[subprocess.Popen[bytes]] = []
    thread = threading.Thread(target=lambda: started.append(spawn(_SLEEPER, stdout=subprocess.DEVNULL)))
    thread.start()
    thread.join()
    (child,) = started
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.5)
    stop(child)
    assert not psutil.pid_exists(child.pid)


def test_program_that_cannot_start_is_reported_with_its_log(tmp_path: Path) -> None:
    """A child that ends instead of getting ready fails at once, with what it said."""
    log_path = tmp_path / "log"
    with log_path.open("wb") as log:
        child = spawn(["/nowhere/program"], stdout=log)
    with pytest.raises(StartFailedError, match=r"(?s)ended with status 1.*FileNotFoundError"):
        wait_ready(child, lambda: False, log_path=log_path, seconds=10)
    stop(child)


def test_no_port_is_given_twice() -> None:
    """Also where something has seeded the chance of this process, as Hypothesis does before every example."""
    state = random.getstate()
    try:
        given = []
        for _ in range(50):
            random.seed(7)
            given.append(free_port())
    finally:
        random.setstate(state)
    assert len(set(given)) == len(given)
