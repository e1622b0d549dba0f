"""Lead files, read line by line: what is good becomes an event, what is not a reason that names the field. Pure.

CSV has a header with leads_id, leads_name, leads_phone and perhaps reference_id; further columns are extras. JSON Lines
has an object per line with the event's fields; further fields that are text are extras too. A quoted CSV field may
hold line breaks; a quote that is never closed costs its own line and not the rest of the file. A lead that is in the
file already is rejected: the first one would stay anyway, and nobody would hear of the second.
"""

import csv
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import chain
from typing import Final

import orjson

from schemas.codec import DecodeError, decode
from schemas.ids import TaskId
from schemas.leads import LeadAdded
from schemas.topics import MAX_RECORD_BYTES

JSON_SUFFIXES: Final = (".jsonl", ".ndjson")
REQUIRED: Final = ("leads_id", "leads_name", "leads_phone")
COLUMNS: Final = (*REQUIRED, "reference_id")
FIELDS: Final = (*COLUMNS, "task_id", "added_at", "extras")
MAX_JOINED_LINES: Final = 20
MAX_LEAD_BYTES: Final = MAX_RECORD_BYTES - 4_096  # a record has a key, headers and a frame too
UNCLOSED: Final = "a quote is not closed"
TOO_LONG: Final = "the line is too long for a record"
NO_TABLE: Final = "the file is neither CSV nor JSON Lines in UTF-8"
ARRAY: Final = "the file is a JSON array; it takes one object per line"
_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Rejected:
    """A line that is no lead, and why; the reason holds no values of the line."""

    reason: str


LeadLine = tuple[int, LeadAdded | Rejected]
NumberedLine = tuple[int, bytes]


def bounded_lines(readline: Callable[[int], bytes]) -> Iterator[bytes]:
    """Yield a file's lines; of one that is too long for a record only its begin, which is too long as well."""
    while line := readline(MAX_RECORD_BYTES + 1):
        yield line
        while len(line) > MAX_RECORD_BYTES and not line.endswith(b"\n"):
            line = readline(MAX_RECORD_BYTES + 1)


def read_leads(lines: Iterable[bytes], *, task_id: TaskId, name: str = "") -> Iterator[LeadLine]:
    """Yield each line's number and its lead of the task, or why it is none; empty lines are passed over.

    `name` is the file's, whose suffix tells JSON Lines from CSV; otherwise the first character does. Raises nothing.
    """
    seen: dict[str, int] = {}
    for number, lead in _read_any(lines, task_id, name):
        if isinstance(lead, LeadAdded) and (first := seen.setdefault(lead.leads_id, number)) != number:
            yield number, Rejected(f"leads_id is that of line {first}")
        else:
            yield number, lead


def _read_any(lines: Iterable[bytes], task_id: TaskId, name: str) -> Iterator[LeadLine]:
    numbered = ((number, line.removeprefix(_BOM) if number == 1 else line) for number, line in enumerate(lines, 1))
    filled = ((number, line) for number, line in numbered if line.strip())
    first = next(filled, None)
    if first is None:
        return
    begin, has_suffix = first[1].lstrip()[:1], name.lower().endswith(JSON_SUFFIXES)
    if begin == b"[" and not has_suffix:
        yield first[0], Rejected(ARRAY)
        return
    read = _read_json if has_suffix or begin == b"{" else _read_csv
    # Inside a quoted CSV field an empty line is text, so what follows is read unfiltered.
    yield from read(chain([first], numbered), task_id)


def _read_json(lines: Iterator[NumberedLine], task_id: TaskId) -> Iterator[LeadLine]:
    for number, line in lines:
        if line.strip():
            yield number, _lead_from_json(line, task_id)


def _lead_from_json(line: bytes, task_id: TaskId) -> LeadAdded | Rejected:
    if len(line) > MAX_RECORD_BYTES:
        return Rejected(TOO_LONG)
    try:
        fields = orjson.loads(line)
    except orjson.JSONDecodeError:
        return Rejected("the line is not JSON in UTF-8")
    if not isinstance(fields, dict):
        return Rejected("the line is no JSON object")
    if fields.get("task_id") not in (None, task_id):
        return Rejected("task_id is another task's")
    event = {key: fields[key] for key in FIELDS if fields.get(key) is not None} | {"task_id": task_id}
    extras = {} if event.get("extras") is None else event["extras"]
    if isinstance(extras, dict):
        further = {key: value for key, value in fields.items() if key not in FIELDS and isinstance(value, str)}
        event["extras"] = further | extras or None
    return _lead(event)


def _read_csv(lines: Iterator[NumberedLine], task_id: TaskId) -> Iterator[LeadLine]:
    number, line = next(lines)
    columns = _parse_record(_text(line) or "")
    problem = NO_TABLE if columns is None else _problem_with(columns)
    if columns is None or problem is not None:
        yield number, Rejected(problem or NO_TABLE)
        return
    names = [column.strip() for column in columns]
    for place, values in _records(lines, len(names)):
        yield place, Rejected(values) if isinstance(values, str) else _lead_from_row(names, values, task_id)


def _problem_with(columns: Sequence[str]) -> str | None:
    names = [column.strip() for column in columns]
    if len(names) == 1 and (separator := next((mark for mark in ";\t|" if mark in names[0]), None)):
        return f"the columns of the header are separated by {separator!r}; it takes commas"
    missing = [name for name in REQUIRED if name not in names]
    if missing:
        return f"the header lacks {', '.join(missing)}"
    if len(set(names)) < len(names):
        return "the header names a column twice"
    return None


def _records(lines: Iterator[NumberedLine], width: int) -> Iterator[tuple[int, list[str] | str]]:
    """Yield each record's line and its values, or the reason why it has none."""
    ahead: deque[NumberedLine] = deque()
    while ahead or _pull(lines, ahead):
        number, line = ahead[0]
        if not line.strip():
            ahead.popleft()
            continue
        taken, values = _take_record(lines, ahead, width)
        for _ in range(taken):
            ahead.popleft()
        yield number, values


def _take_record(lines: Iterator[NumberedLine], ahead: deque[NumberedLine], width: int) -> tuple[int, list[str] | str]:
    """Return how many lines the record that begins `ahead` has, and its values or the reason why it has none."""
    joined = ""
    for taken in range(1, MAX_JOINED_LINES + 1):
        if len(ahead) < taken and not _pull(lines, ahead):
            break
        if len(joined) + len(ahead[taken - 1][1]) > MAX_RECORD_BYTES:
            return 1, TOO_LONG if taken == 1 else UNCLOSED
        text = _text(ahead[taken - 1][1])
        if text is None:
            return 1, "the line is not UTF-8" if taken == 1 else UNCLOSED
        joined += text
        if joined.count('"') % 2 == 0:
            values = _parse_record(joined)
            if taken == 1:
                return 1, "the line is not CSV" if values is None else values
            if values is not None and len(values) == width:
                return taken, values
            break
    return 1, UNCLOSED


def _pull(lines: Iterator[NumberedLine], ahead: deque[NumberedLine]) -> bool:
    line = next(lines, None)
    if line is not None:
        ahead.append(line)
    return line is not None


def _text(line: bytes) -> str | None:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return None


def _parse_record(text: str) -> list[str] | None:
    try:
        records = list(csv.reader(StringIO(text, newline=""), strict=True))
    except csv.Error:
        return None
    return records[0] if len(records) == 1 else None


def _lead_from_row(columns: Sequence[str], values: Sequence[str], task_id: TaskId) -> LeadAdded | Rejected:
    if len(values) != len(columns):
        return Rejected(f"the line has {len(values)} columns, the header has {len(columns)}")
    cells = {column: value.strip() for column, value in zip(columns, values, strict=True)}
    event: dict[str, object] = {column: cells.pop(column) for column in COLUMNS if column in cells}
    if not event.get("reference_id"):
        event.pop("reference_id", None)
    return _lead({**event, "task_id": task_id, "extras": cells or None})


def _lead(event: Mapping[str, object]) -> LeadAdded | Rejected:
    """Return the event, as strict as every reader of the topic will be."""
    empty = [name for name in REQUIRED if isinstance(value := event.get(name), str) and not value.strip()]
    if empty:
        return Rejected(f"{empty[0]} is empty")
    try:
        encoded = orjson.dumps(event)
    except TypeError:
        return Rejected("the line is nested too deeply")
    if len(encoded) > MAX_LEAD_BYTES:
        return Rejected(TOO_LONG)
    try:
        return decode(encoded, LeadAdded)
    except DecodeError as error:
        return Rejected(str(error))
