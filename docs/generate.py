"""Writes what is made from the code, the references and the contracts: `python -m docs.generate` (`make reference`).

A test compares what is checked in with what the code says, so a change of an event or a metric cannot go unseen.
"""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import typer
from prometheus_client import Counter, Info
from prometheus_client.metrics import MetricWrapperBase
from typer.cli import get_docs_for_click

from cli.main import app
from runtime import metrics
from schemas.published import INTERNAL, asyncapi, json_schema
from schemas.topics import ALL, DAY_MS, AnyTopic

ROOT = Path(__file__).parent.parent
EVENTS = """# Events

Generated from `schemas/topics.py` by `make reference`; do not edit. The same as JSON Schema is in `schemas/json`, as
AsyncAPI 3.1 in `schemas/asyncapi.json`. How to read them, with an example: [docs/events.md](../events.md).

A *time* is RFC 3339, with any offset; callstream writes UTC with milliseconds. A leap second counts as the end of the
second before it. An *id* is a string of 1 to 128 characters.
"""
METRICS = """# Metrics

Generated from `runtime/metrics.py` by `make reference`; do not edit. Every role serves its own on `/metrics`. Those
that begin with `kafka_` have the names and labels of kafka_exporter and come from the monitor. No label holds an id, a
number or a name.

| name | type | labels | meaning |
| --- | --- | --- | --- |
"""
COMMANDS = """# Commands

Generated from the command line itself by `make reference`; do not edit.

"""


def generated() -> dict[Path, str]:
    """Return every generated file below the root with its content."""
    files = {Path(f"schemas/json/{topic.name}.json"): _as_json(json_schema(topic)) for topic in ALL}
    files[Path("schemas/asyncapi.json")] = _as_json(asyncapi(version("callstream")))
    files[Path("docs/reference/metrics.md")] = METRICS + "".join(map(_metric_row, all_metrics()))
    files[Path("docs/reference/commands.md")] = COMMANDS + _commands()
    files[Path("docs/reference/events.md")] = EVENTS + "".join(_section(topic) for topic in ALL)
    return files


def all_metrics() -> list[MetricWrapperBase]:
    """Return every metric that the roles export, by name."""
    found = [value for value in vars(metrics).values() if isinstance(value, MetricWrapperBase)]
    return sorted(found, key=lambda metric: metric._name)  # noqa: SLF001 - the library tells its name nowhere else


def exported_name(metric: MetricWrapperBase) -> str:
    """Return the name under which a metric is queried; a histogram has three more behind it."""
    suffix = {Counter: "_total", Info: "_info"}.get(type(metric), "")
    return f"{metric._name}{suffix}"  # noqa: SLF001


def main() -> None:
    """Write them all."""
    for path, content in generated().items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(content, encoding="utf-8")


def _as_json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _metric_row(metric: MetricWrapperBase) -> str:
    kind = type(metric).__name__.lower()
    labels = ", ".join(f"`{label}`" for label in metric._labelnames)  # noqa: SLF001
    return f"| `{exported_name(metric)}` | {kind} | {labels} | {metric._documentation} |\n"  # noqa: SLF001


def _commands() -> str:
    command = typer.main.get_command(app)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command), name="callstream")
    return "\n".join(line.rstrip() for line in text.splitlines()[2:]) + "\n"


def _section(topic: AnyTopic) -> str:
    schema = json_schema(topic)
    days = int(topic.config["retention.ms"]) // DAY_MS
    key = "any; callstream writes `reference_id`" if topic.key_field == "reference" else f"`{topic.key_field}`"
    lines = [f"\n## `{topic.name}`\n", schema["description"], "", f"Key: {key}. Kept for {days} days."]
    if topic.has_personal_data:
        lines += ["", "Holds personal data."]
    if topic.is_internal:
        lines += ["", INTERNAL]
    lines += _table(schema)
    for name, part in schema.get("$defs", {}).items():
        lines += ["", f"`{name}`: {part['description']}", *_table(part)]
    return "\n".join(lines) + "\n"


def _table(schema: dict[str, Any]) -> list[str]:
    rows = ["", "| field | type | | meaning |", "| --- | --- | --- | --- |"]
    for name, field in schema["properties"].items():
        kind = next((option for option in field.get("anyOf", ()) if option.get("type") != "null"), field)
        need = "" if name in schema["required"] else "optional"
        rows.append(f"| `{name}` | {_type(kind)} | {need} | {kind.get('description', '')} |")
    return rows


def _type(field: dict[str, Any]) -> str:
    """Return a field's type in words: `list of Turn`, `integer, 0 to 2`, `one of ...`."""
    match field:
        case {"$ref": reference}:
            words = f"`{reference.rpartition('/')[2]}`"
        case {"enum": values}:
            words = "one of " + ", ".join(f"`{value}`" for value in values)
        case {"type": "array", "items": items}:
            words = f"list of {_type(items)}"
        case {"type": "object", "additionalProperties": values}:
            words = f"object of {_type(values)}"
        case {"type": "integer", "minimum": least, "maximum": most}:
            words = f"integer, {least} to {'2^63-1' if most == 2**63 - 1 else most}"
        case {"type": "string", "maxLength": _}:
            words = "id"
        case {"format": "date-time"}:
            words = "time"
        case _:
            words = str(field["type"])
    return words


if __name__ == "__main__":
    main()
