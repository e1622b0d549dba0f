"""What an installation brings: names that nobody else has, and dependencies that are locked and say nothing of a host.

Where packages come from is a matter of the machine, so no file names an index. The names of hosts are put together
here, for this file is looked at too.
"""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOCKS = ("requirements.lock", "requirements-dev.lock")
REGISTRY_HOSTS = tuple(
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("repo1", "maven", "org"),
        ("repo", "maven", "apache", "org"),
        ("registry", "npmjs", "org"),
        ("conda", "anaconda", "org"),
    )
)
_INDEX_OPTION = re.compile(r"--(?:extra-)?index-url|--find-links|--trusted-host|https?://")
_NAMED_INDEX = re.compile(r"(?:index[-_]url|trusted[-_]host|find[-_]links)[ =\"']+https?:")

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES: list[str] = PYPROJECT["tool"]["hatch"]["build"]["packages"]


def _requirements(lock: str) -> list[str]:
    """Return the lock's requirements, each as one line, without comments."""
    lines = (ROOT / lock).read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def test_no_package_has_a_name_of_the_standard_library() -> None:
    """Such a package would hide a module from every library, or be hidden by it."""
    assert set(PACKAGES) & set(sys.stdlib_module_names) == set()


def test_no_other_distribution_owns_our_names() -> None:
    """A dependency with a top-level package of the same name would be imported in place of ours, or ours of it."""
    owners = importlib.metadata.packages_distributions()
    others = {package: set(owners.get(package, ())) - {PYPROJECT["project"]["name"]} for package in PACKAGES}
    assert {package: names for package, names in others.items() if names} == {}


def test_the_wheel_holds_every_typed_package() -> None:
    """A folder with `py.typed` is shipped and has its imports checked; nothing else is."""
    typed = {marker.parent.name for marker in ROOT.glob("*/py.typed")}
    assert set(PACKAGES) == typed
    assert set(PYPROJECT["tool"]["importlinter"]["root_packages"]) == typed


def test_the_distribution_cannot_be_uploaded_by_mistake() -> None:
    """Its package names are too plain for an index that is shared."""
    assert "Private :: Do Not Upload" in PYPROJECT["project"]["classifiers"]


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_name_no_index(lock: str) -> None:
    """The options that say where packages come from, and any URL, stay out."""
    assert _INDEX_OPTION.findall((ROOT / lock).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_requirement_is_exact_and_has_a_hash(lock: str) -> None:
    """What is installed is what was locked, byte for byte."""
    requirements = _requirements(lock)
    assert requirements
    assert [line.split()[0] for line in requirements if "==" not in line or "--hash=sha256:" not in line] == []


def test_no_file_names_a_registry() -> None:
    """Everything under version control except the locks, which the tests above look at."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    found = []
    for name in listed.split("\0"):
        path = ROOT / name
        if not name or name in LOCKS or not path.is_file():
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        if _NAMED_INDEX.search(text) or any(host in text for host in REGISTRY_HOSTS):
            found.append(name)
    assert found == []
