"""The documents point at what is there, and the table of settings says what the code says."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from pydantic_settings import BaseSettings

from runtime.settings import GROUPS, variable_of

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])

_FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")
_PATH = re.compile(r"(?P<file>[\w.-]+(?:/[\w.-]+)+\.(?:py|sql|toml|md|lock|xml|jsonl?|ya?ml))(?:::(?P<test>\w+))?")
_EVENT = re.compile(r"[a-z]+\.[a-z_]+")
_ROW = re.compile(r"^\| *`(?P<variable>[A-Z_]+)` *\| *(?P<default>[^|]*?) *\| *(?P<accepted>[^|]*?) *\|", re.MULTILINE)
_SETTINGS = [(group, field) for group in GROUPS for field in group.model_fields]


def _prose(document: Path) -> str:
    """Return a document without its blocks of code."""
    return _FENCE.sub("", document.read_text(encoding="utf-8"))


def _named_paths(document: Path) -> Iterator[re.Match[str]]:
    """Yield what stands in backticks and is the path of a file."""
    for code in _CODE.findall(_prose(document)):
        if found := _PATH.fullmatch(code):
            yield found


def _name(document: Path) -> str:
    return str(document.relative_to(ROOT))


def _rows() -> dict[str, re.Match[str]]:
    """Return the rows of the README's table of settings by variable."""
    return {row["variable"]: row for row in _ROW.finditer((ROOT / "README.md").read_text(encoding="utf-8"))}


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_relative_links_point_to_files_without_anchors(document: Path) -> None:
    """Who follows a link lands somewhere; anchors are left out, because nothing would notice that they broke."""
    links = [
        link for link in _LINK.findall(_prose(document)) if not link.startswith(("http://", "https://", "mailto:"))
    ]
    assert [link for link in links if "#" in link] == []
    assert [link for link in links if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_paths_in_backticks_exist(document: Path) -> None:
    """A file that is named is there, from the root of the repository; so is the test named behind it."""
    named = list(_named_paths(document))
    assert [found["file"] for found in named if not (ROOT / found["file"]).exists()] == []
    tests = [(found["file"], found["test"]) for found in named if found["test"]]
    assert [
        (file, test) for file, test in tests if f"def {test}(" not in (ROOT / file).read_text(encoding="utf-8")
    ] == []


def test_the_runbook_names_what_the_roles_log() -> None:
    """Who is woken searches the log for these words."""
    pages = [path for path in DOCUMENTS if path.parent.name == "runbook"]
    named = {code for page in pages for code in _CODE.findall(_prose(page)) if _EVENT.fullmatch(code)}
    folders = ("runtime", "producers", "streams", "sinks", "cli")
    source = "".join(path.read_text(encoding="utf-8") for folder in folders for path in (ROOT / folder).rglob("*.py"))
    assert len(named) > 5
    assert {event for event in named if f'"{event}"' not in source} == set()


@pytest.mark.parametrize(("group", "field"), _SETTINGS, ids=[variable_of(*setting) for setting in _SETTINGS])
def test_each_setting_is_in_the_readme_with_its_default(group: type[BaseSettings], field: str) -> None:
    """A row | `VARIABLE` | default | accepted | meaning |; where nothing is the default, the cell quotes no value."""
    row = _rows().get(variable_of(group, field))
    assert row is not None, "no row in the README's table"
    assert row["accepted"]
    cell, default = row["default"], group.model_fields[field].default
    match default:
        case None | () | {}:
            assert "`" not in cell
        case bool():
            assert cell.strip("`") == str(default).lower()
        case int() | float():
            assert float(cell.strip("`")) == default
        case SecretStr():
            assert cell.strip("`") == default.get_secret_value()
        case _:
            assert cell.strip("`") == default


def test_the_readme_names_no_setting_that_is_none() -> None:
    """A row that outlived its setting would promise something."""
    assert _rows().keys() - {variable_of(*setting) for setting in _SETTINGS} == set()
