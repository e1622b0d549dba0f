"""The contracts as others read them: a JSON Schema per event and one AsyncAPI document, made from the types. Pure."""

import inspect
from typing import Any, Final

import msgspec

from schemas.topics import ALL, DEAD_LETTER_CONFIG, AnyTopic

Document = dict[str, Any]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
ABOUT: Final = (
    "What callstream reads and writes in Kafka. Keys and values are UTF-8, a value is one JSON object. Unknown fields "
    "are to be ignored; null in an optional field is absent. A version of a topic only ever gains optional fields."
)
INTERNAL: Final = "Internal: for callstream's own processes, may change without a new version."
HEADERS: Final[Document] = {
    "type": "object",
    "description": "CloudEvents in Kafka's binary mode; written by callstream, required of nobody.",
    "properties": {
        "ce_specversion": {"type": "string", "const": "1.0"},
        "ce_id": {"type": "string", "description": "Equal ids are the same event again."},
        "ce_type": {"type": "string", "description": "The topic's name."},
        "ce_source": {"type": "string", "description": "The role that wrote it, e.g. callstream/changes."},
        "ce_time": {"type": "string", "format": "date-time"},
        "content-type": {"type": "string", "const": "application/json"},
    },
}
ERROR_HEADERS: Final[Document] = {
    "type": "object",
    "description": "The original's headers, and Kafka Connect's names for what was wrong.",
    "properties": {
        f"__connect.errors.{name}": {"type": "string"}
        for name in ("topic", "partition", "offset", "consumer.group", "exception.class.name", "exception.message")
    },
}


def json_schema(topic: AnyTopic) -> Document:
    """Return the JSON Schema (2020-12) of the values in `topic`."""
    (reference,), components = msgspec.json.schema_components([topic.event])
    event = reference["$ref"].rpartition("/")[2]
    definitions = {name: _described(schema) for name, schema in components.items()}
    schema = definitions.pop(event)
    document = {"$schema": DIALECT, "$id": f"urn:callstream:{topic.name}"} | schema | {"title": topic.name}
    return document | {"$defs": definitions} if definitions else document


def asyncapi(version: str) -> Document:
    """Return the AsyncAPI 3.1 document of all topics and their dead letters; `version` is the project's."""
    _, components = msgspec.json.schema_components(
        [topic.event for topic in ALL], ref_template="#/components/schemas/{name}"
    )
    channels: Document = {}
    for topic in ALL:
        channels[topic.name] = _channel(topic.name, topic.config, _name(topic))
        channels[topic.dead_letters] = _channel(topic.dead_letters, DEAD_LETTER_CONFIG, "DeadLetter")
    return {
        "asyncapi": "3.1.0",
        "info": {"title": "callstream", "version": version, "description": ABOUT},
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": {topic.name: _operation(topic) for topic in ALL},
        "components": {
            "messages": {_name(topic): _message(topic) for topic in ALL} | {"DeadLetter": _dead_letter()},
            "schemas": {name: _described(schema) for name, schema in sorted(components.items())},
        },
    }


def _name(topic: AnyTopic) -> str:
    return topic.event.__name__


def _described(schema: Document) -> Document:
    return schema | {"description": inspect.cleandoc(schema["description"])}


def _channel(address: str, config: Any, message: str) -> Document:
    numbers = {name: int(value) for name, value in config.items() if value.isdigit()}
    return {
        "address": address,
        "messages": {message: {"$ref": f"#/components/messages/{message}"}},
        "bindings": {"kafka": {"topic": address, "topicConfiguration": numbers, "bindingVersion": "0.5.0"}},
    }


def _message(topic: AnyTopic) -> Document:
    about = inspect.cleandoc(topic.event.__doc__ or "")
    summary, _, rest = about.partition("\n\n")
    description = "\n\n".join(part for part in (rest, INTERNAL if topic.is_internal else "") if part)
    return {
        "name": topic.name,
        "summary": summary.replace("\n", " "),
        **({"description": description} if description else {}),
        "contentType": "application/json",
        "headers": HEADERS,
        "payload": {"$ref": f"#/components/schemas/{_name(topic)}"},
        "bindings": {
            "kafka": {"key": {"type": "string", "description": topic.key_field}, "bindingVersion": "0.5.0"},
        },
    }


def _dead_letter() -> Document:
    return {
        "name": "DeadLetter",
        "summary": "A record that nobody could use: key, value and headers byte for byte, and why.",
        "description": "Receipts of replays lie beside the letters; callstream dlq tells them apart.",
        "contentType": "application/octet-stream",
        "headers": ERROR_HEADERS,
    }


def _operation(topic: AnyTopic) -> Document:
    """Return who moves the events of `topic`: the CRM sends what callstream receives, callstream sends the rest."""
    return {
        "action": "receive" if topic.name.startswith("crm.") else "send",
        "channel": {"$ref": f"#/channels/{topic.name.replace('/', '~1')}"},
        "summary": inspect.cleandoc(topic.event.__doc__ or "").partition("\n")[0],
    }
