"""Bytes to event and back: JSON on the wire, strict about what is there, tolerant of what is unknown.

A record without escaped NULs or lone surrogates, which is nearly every one, takes one pass of a typed decoder. The
others are legal JSON that no PostgreSQL text can hold: there free text is cleaned (U+FFFD takes the place of what
cannot be stored) and any other known field, an id above all, is refused by name.
"""

import json
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final, NoReturn, TypeVar, cast, get_args, get_type_hints

import msgspec
import orjson

from schemas.instants import format_instant

E = TypeVar("E", bound=msgspec.Struct)

FREE_TEXT: Final = frozenset(
    {"leads_name", "script", "speaker", "summary", "extras", "reason", "failure_reason", "name"}
)
REPLACEMENT: Final = "\ufffd"
_ESCAPED_NUL: Final = b"\\u0000"
_FIRST_YEAR: Final = b'"0001-'
_LAST_YEAR: Final = b'"9999-'
UNSTORABLE: Final = str.maketrans({0: REPLACEMENT, **dict.fromkeys(range(0xD800, 0xE000), REPLACEMENT)})


class DecodeError(ValueError):
    """The bytes are not one JSON object of the event's type; the message names the field where there is one."""


def encode(event: msgspec.Struct) -> bytes:
    """Return the event as compact JSON: times with milliseconds, absent optional fields left out."""
    return orjson.dumps(
        msgspec.to_builtins(event, builtin_types=(datetime,)),
        default=_encode_instant,
        option=orjson.OPT_PASSTHROUGH_DATETIME,
    )


def decode(value: bytes | None, event: type[E]) -> E:
    """Return the event in `value`; raises DecodeError, and nothing else, for whatever is not one.

    Every time in it can be expressed in UTC: at the ends of the calendar an offset leads beyond it.
    """
    if value is None:
        raise DecodeError("the record has no value")
    try:
        value.decode()
        if _ESCAPED_NUL not in value:
            decoded = cast(E, _decoder(event).decode(value))
            return _in_utc(decoded) if _FIRST_YEAR in value or _LAST_YEAR in value else decoded
    except UnicodeDecodeError as error:
        raise DecodeError(f"the value is not UTF-8 at byte {error.start}") from error
    except msgspec.ValidationError as error:
        raise DecodeError(str(error)) from error
    except RecursionError as error:
        raise DecodeError("the value is nested too deeply") from error
    except msgspec.DecodeError as error:
        if rb"\u" not in value:
            raise DecodeError(str(error)) from error
    return _decode_with_care(value, event)


def _decode_with_care(value: bytes, event: type[E]) -> E:
    try:
        document = json.loads(value, parse_constant=_refuse_constant)
        return _in_utc(msgspec.convert(_clean(document, "$", event), event))
    except RecursionError as error:
        raise DecodeError("the value is nested too deeply") from error
    except DecodeError:
        raise
    except ValueError as error:  # msgspec.ValidationError and json.JSONDecodeError are both ValueErrors
        raise DecodeError(str(error)) from error


def _in_utc(event: E) -> E:
    """Return the event with its times in UTC; raises DecodeError for one that lies beyond the calendar there."""
    document = msgspec.to_builtins(event, builtin_types=(datetime,))
    return msgspec.convert(_times_in_utc(document, "$"), type(event))


def _times_in_utc(node: Any, path: str) -> Any:
    if isinstance(node, datetime):
        try:
            return node.astimezone(UTC)
        except OverflowError as error:
            raise DecodeError(f"Beyond the years 1 to 9999 in UTC - at `{path}`") from error
    if isinstance(node, dict):
        return {key: _times_in_utc(item, f"{path}.{key}") for key, item in node.items()}
    if isinstance(node, list | tuple):
        return [_times_in_utc(item, f"{path}[{i}]") for i, item in enumerate(node)]
    return node


def _clean(node: Any, path: str, hint: Any) -> Any:
    """Replace what no database text can hold; refuse it in fields of the type `hint` that are no free text."""
    if isinstance(node, str):
        return node.translate(UNSTORABLE)
    if isinstance(node, list):
        return [_clean(item, f"{path}[{i}]", hint) for i, item in enumerate(node)]
    if not isinstance(node, dict):
        return node
    fields = _fields(hint)
    cleaned = {}
    for key, item in node.items():
        value = _clean(item, f"{path}.{key}", fields.get(key))
        if key in fields and key not in FREE_TEXT and isinstance(item, str) and value != item:
            raise DecodeError(f"NUL or a lone surrogate - at `{path}.{key}`")
        cleaned[key.translate(UNSTORABLE)] = value
    return cleaned


def _fields(hint: Any) -> dict[str, Any]:
    """Return the fields, and their types, of the struct that `hint` is, or holds; none where it holds none."""
    pending = [hint]
    while pending:
        hint = pending.pop()
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            return get_type_hints(hint)
        pending += get_args(hint)
    return {}


def _refuse_constant(name: str) -> NoReturn:
    raise DecodeError(f"JSON is malformed: {name} is no JSON value")


def _encode_instant(value: Any) -> str:
    if isinstance(value, datetime):
        return format_instant(value)
    raise TypeError(f"{type(value).__name__} is not part of any event")


@cache
def _decoder(event: type[E]) -> msgspec.json.Decoder[E]:
    return msgspec.json.Decoder(event)
