"""The generated contracts: what is checked in is what the code says, valid, and only ever grows."""

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from docs.generate import generated
from schemas.codec import decode, encode
from schemas.published import asyncapi, json_schema
from schemas.topics import ALL, AnyTopic
from tests.contract.compatibility import incompatibilities

ROOT = Path(__file__).parents[2]
RELEASES = sorted((Path(__file__).parent / "released").iterdir())
GOLDEN = sorted((ROOT / "tests" / "golden").rglob("*.json"))
TOPICS = {topic.name: topic for topic in ALL}
ASYNCAPI = json.loads(Path(__file__).with_name("asyncapi-3.1.0.json").read_text())


def _named(value: object) -> str:
    return str(getattr(value, "name", value))


def test_what_is_checked_in_is_what_the_types_say() -> None:
    """Whoever changes an event runs `make reference`, and the change is seen in the review."""
    files = generated()
    assert {path for path, content in files.items() if (ROOT / path).read_text(encoding="utf-8") != content} == set()
    known = {path.name for path in files if path.parent.name == "json"}
    assert {path.name for path in (ROOT / "schemas" / "json").iterdir()} == known


def test_the_asyncapi_document_follows_the_specification() -> None:
    """Validated by the specification's own JSON schema, which does notice what is wrong."""
    document = asyncapi("1.2.3")
    validator = jsonschema.Draft7Validator(ASYNCAPI)
    validator.validate(document)
    damages: tuple[dict[str, Any], ...] = (
        {"asyncapi": "2.0.0"},
        {"channels": []},
        {"operations": {"x": {"action": "shout"}}},
    )
    for damage in damages:
        assert not validator.is_valid(document | damage)


def test_every_reference_in_the_asyncapi_document_leads_somewhere() -> None:
    """The specification's schema does not follow references."""
    document = asyncapi("1.2.3")

    def references(node: Any) -> list[str]:
        children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        own = [node["$ref"]] if isinstance(node, dict) and isinstance(node.get("$ref"), str) else []
        return own + [reference for child in children for reference in references(child)]

    found = references(document)
    assert len(found) > 4 * len(ALL)
    for reference in found:
        node = document
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]


@pytest.mark.parametrize("topic", ALL, ids=_named)
def test_every_event_has_a_schema_that_is_one(topic: AnyTopic) -> None:
    """Each field says what it means."""
    schema = json_schema(topic)
    jsonschema.Draft202012Validator.check_schema(schema)
    for part in (schema, *schema.get("$defs", {}).values()):
        assert part["description"]
        for name, field in part["properties"].items():
            assert "description" in field or any("description" in option for option in field["anyOf"]), name


@pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.name)
@pytest.mark.parametrize("topic", ALL, ids=_named)
def test_a_version_of_a_topic_only_gains_optional_fields(topic: AnyTopic, release: Path) -> None:
    """Compared with every release: what one could read and write then, one can read and write now."""
    released = release / f"{topic.name}.json"
    if released.exists():
        assert incompatibilities(json.loads(released.read_text()), json_schema(topic)) == []


def test_every_released_topic_is_still_there() -> None:
    """A topic does not vanish within a version."""
    assert {path.stem for release in RELEASES for path in release.iterdir()} <= TOPICS.keys()


def test_the_comparison_sees_every_kind_of_change() -> None:
    """Only the addition of an optional field, and other words, pass."""
    old = json_schema(TOPICS["outbound.call-job.followed-up.v1"])

    def changed(path: str, value: Any) -> list[str]:
        new = copy.deepcopy(old)
        *steps, last = path.split("/")
        node = new
        for step in steps:
            node = node[step]
        if value is None:
            del node[last]
        else:
            node[last] = value
        return incompatibilities(old, new)

    assert changed("properties/note", {"type": "string"}) == []
    assert changed("properties/summary/description", "Other words.") == []
    assert changed("properties/summary", None)
    assert changed("properties/summary/type", "integer")
    assert changed("properties/is_interested/maximum", 3)
    assert changed("properties/is_interested/minimum", None)
    assert changed("required", [*old["required"], "note"])
    assert changed("required", old["required"][1:])


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_an_example_of_every_version_decodes_for_ever(path: Path) -> None:
    """Examples are never edited; a new optional field gets a new one. Those that callstream wrote come out the same."""
    topic = TOPICS[path.parent.name]
    event = decode(path.read_bytes(), topic.event)
    jsonschema.validate(json.loads(path.read_bytes()), json_schema(topic))
    if not path.stem.startswith("foreign"):
        assert encode(event) == path.read_bytes()


@pytest.mark.parametrize("topic", ALL, ids=_named)
def test_every_field_is_in_an_example(topic: AnyTopic) -> None:
    """So that none is forgotten when one is added."""
    folder = ROOT / "tests" / "golden" / topic.name
    seen = {name for path in folder.glob("full-*.json") for name in json.loads(path.read_bytes())}
    assert seen == {field.encode_name for field in msgspec.structs.fields(topic.event)}
    assert list(folder.glob("minimal-*.json"))
    assert list(folder.glob("foreign-*.json"))
