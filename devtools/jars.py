"""Java programs for tests and benchmarks: their jars come from Maven once, and stay in a cache folder.

No registry is named anywhere: where jars come from is a matter of the machine's Maven.
"""

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from devtools.processes import MissingTool


def kept(name: str, make: Callable[[Path], None]) -> Path:
    """Return the folder `name` below CALLSTREAM_CACHE, or below ~/.cache/callstream; `make` fills it the first time.

    Safe when several processes ask at once: one makes it, the others wait. What `make` did not finish is not kept.
    """
    cache = Path(os.environ.get("CALLSTREAM_CACHE") or Path.home() / ".cache" / "callstream")
    target = cache / name
    if target.is_dir():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_dir():
            with tempfile.TemporaryDirectory(dir=cache, prefix="resolving-") as work:
                made = Path(work) / name
                make(made)
                made.rename(target)
    return target


def property_of(pom: Path, name: str) -> str:
    """Return a property that `pom` sets; raises ValueError where it does not."""
    found = re.search(rf"<{re.escape(name)}>(.+?)</", pom.read_text())
    if found is None:
        message = f"{pom} does not name {name}"
        raise ValueError(message)
    return found[1]


def resolve(pom: Path, folder: Path, *, missing: str) -> None:
    """Copy the jars that `pom` depends on into `folder`; raises MissingTool saying `missing` without Maven."""
    run(program("mvn", missing), "-B", "-q", "-f", pom, "dependency:copy-dependencies", f"-DoutputDirectory={folder}")


def program(name: str, missing: str) -> Path:
    """Return where the program is; raises MissingTool saying `missing`."""
    found = shutil.which(name)
    if found is None:
        raise MissingTool(missing)
    return Path(found)


def run(*command: str | Path) -> str:
    """Run to the end and return what it printed; raises RuntimeError with the tail of what it said where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        message = f"{command[0]} ended with status {done.returncode}:\n{(done.stdout + done.stderr)[-2000:]}"
        raise RuntimeError(message)
    return done.stdout
