"""Bytes to event and back: JSON on the wire, strict about what is there, tolerant of what is unknown.

A record without escaped NULs or lone surrogates, which is nearly every one, takes one pass of a typed decoder. The
others are legal JSON that no PostgreSQL text can hold: there free text is cleaned (U+FFFD takes the place of what
cannot be stored) and any other known field, an id above all, is refused by name.
"""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final, NamedTuple, NoReturn, TypeVar, cast, get_args, get_type_hints

import msgspec
import orjson

from schemas.instants import write_instants

E = TypeVar("E", bound=msgspec.Struct)

FREE_TEXT: Final = frozenset(
    {"leads_name", "script", "speaker", "summary", "extras", "reason", "failure_reason", "name"}
)
REPLACEMENT: Final = "\ufffd"
_ESCAPED_NUL: Final = b"\\u0000"
_LEAP_SECOND: Final = re.compile(
    rb'(?P<before>"(?:\w+_at|at|planed_time)"\s*:\s*")(?P<minute>\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d)'
    rb":60(?:\.\d+)?(?P<offset>[Zz]|[+-]\d\d:\d\d)(?=\")"
)
UNSTORABLE: Final = str.maketrans({0: REPLACEMENT, **dict.fromkeys(range(0xD800, 0xE000), REPLACEMENT)})


class _Times(NamedTuple):
    """The fields of a struct that hold a time, and those that hold many structs with times."""

    fields: tuple[str, ...]
    parts: tuple[tuple[str, "_Times"], ...]


class _Reader(NamedTuple):
    """How events of one type are decoded, and where they hold times."""

    decode: Callable[[bytes], object]
    times: _Times


class DecodeError(ValueError):
    """The bytes are not one JSON object of the event's type; the message names the field where there is one."""


def encode(event: msgspec.Struct) -> bytes:
    """Return the event as compact JSON: times with milliseconds, absent optional fields left out."""
    document = msgspec.to_builtins(event)
    _write_times(document, _reader(type(event)).times)
    return orjson.dumps(document)


def decode(value: bytes | None, event: type[E]) -> E:
    """Return the event in `value`; raises DecodeError, and nothing else, for whatever is not one.

    Every time in it is in UTC: at the ends of the calendar an offset would lead beyond it.
    """
    if value is None:
        raise DecodeError("the record has no value")
    try:
        value.decode()
        if not needs_care(value):
            reader = _reader(event)
            decoded = cast(E, reader.decode(value))
            return decoded if _is_in_utc(decoded, reader.times) else _in_utc(decoded)
    except UnicodeDecodeError as error:
        raise DecodeError(f"the value is not UTF-8 at byte {error.start}") from error
    except msgspec.ValidationError as error:
        if (mended := _without_leap_seconds(value)) != value:
            return decode(mended, event)
        raise DecodeError(str(error)) from error
    except RecursionError as error:
        raise DecodeError("the value is nested too deeply") from error
    except msgspec.DecodeError as error:
        if rb"\u" not in value:
            raise DecodeError(str(error)) from error
    return _decode_with_care(value, event)


def _without_leap_seconds(value: bytes) -> bytes:
    """Return `value` with the last second of the minute, which clocks know, in the place of a leap second in a time.

    RFC 3339 has leap seconds, at 23:59:60 in UTC alone; no calendar here and in the database has them.
    """
    return _LEAP_SECOND.sub(_last_second, value) if b":60" in value else value


def _last_second(found: re.Match[bytes]) -> bytes:
    before, offset = found["before"], found["offset"]
    try:
        minute = datetime.fromisoformat((found["minute"] + offset).decode().upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        return found[0]
    return before + found["minute"] + b":59.999" + offset if (minute.hour, minute.minute) == (23, 59) else found[0]


def needs_care(value: bytes) -> bool:
    """Return whether `value` may hold a NUL, which no PostgreSQL text can."""
    return b"\\" in value and _ESCAPED_NUL in value  # one byte is found thirty times as fast as six


def _write_times(document: dict[str, Any], times: _Times) -> None:
    """Give the times of an event, which msgspec has made texts of, their form on the wire."""
    write_instants(document, times.fields)
    for name, times_of_part in times.parts:
        for part in document.get(name) or ():
            _write_times(part, times_of_part)


def _decode_with_care(value: bytes, event: type[E]) -> E:
    try:
        document = json.loads(value, parse_constant=_refuse_constant)
        return _in_utc(msgspec.convert(_clean(document, "$", event), event))
    except msgspec.ValidationError as error:
        if (mended := _without_leap_seconds(value)) != value:
            return _decode_with_care(mended, event)
        raise DecodeError(str(error)) from error
    except RecursionError as error:
        raise DecodeError("the value is nested too deeply") from error
    except DecodeError:
        raise
    except ValueError as error:  # json.JSONDecodeError and what an unusual number raises
        raise DecodeError(str(error)) from error


def _in_utc(event: E) -> E:
    """Return the event with its times in UTC; raises DecodeError for one that lies beyond the calendar there."""
    document = msgspec.to_builtins(event, builtin_types=(datetime,))
    return msgspec.convert(_times_in_utc(document, "$"), type(event))


def _is_in_utc(event: msgspec.Struct, times: _Times) -> bool:
    """Return whether every time in the event is in UTC as it is, as every time that ends with `Z` is."""
    fields, parts = times
    for name in fields:
        instant = getattr(event, name)
        if instant is not None and instant.tzinfo is not UTC:
            return False
    for name, times_of_part in parts:
        for part in getattr(event, name) or ():
            if not _is_in_utc(part, times_of_part):
                return False
    return True


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


def _times_of(hints: dict[str, Any]) -> _Times:
    """Return where a struct whose fields have these types holds times."""
    fields = tuple(name for name, hint in hints.items() if hint is datetime or datetime in get_args(hint))
    below = ((name, _times_of(_fields(hint))) for name, hint in hints.items())
    return _Times(fields, tuple((name, times) for name, times in below if times.fields))


def _refuse_constant(name: str) -> NoReturn:
    raise DecodeError(f"JSON is malformed: {name} is no JSON value")


@cache
def _reader(event: type[msgspec.Struct]) -> _Reader:
    return _Reader(msgspec.json.Decoder(event).decode, _times_of(get_type_hints(event)))
