"""Lead files: good lines become events although others are bad, and a bad line says which field is to blame."""

import csv
from io import BytesIO, StringIO

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.lead_files import LeadLine, Rejected, bounded_lines, read_leads
from schemas.ids import LeadId, ReferenceId, TaskId
from schemas.leads import LeadAdded
from schemas.topics import MAX_RECORD_BYTES

TASK = TaskId("task-1")
HEADER = b"leads_id,leads_name,leads_phone\n"


def read(content: bytes, name: str = "") -> list[LeadLine]:
    """All lines of a file."""
    return list(read_leads(content.splitlines(keepends=True), task_id=TASK, name=name))


def reasons(content: bytes, name: str = "") -> dict[int, str]:
    """The rejected lines of a file, by number."""
    return {number: line.reason for number, line in read(content, name) if isinstance(line, Rejected)}


def lead(number: int, **changes: str) -> LeadAdded:
    """A lead as the files of these tests spell it."""
    event = LeadAdded(
        task_id=TASK, leads_id=LeadId(f"lead-{number}"), leads_name=f"name {number}", leads_phone=f"138{number}"
    )
    return msgspec.structs.replace(event, **changes)


def test_csv_with_extras_reference_and_byte_order_mark() -> None:
    """Further columns are extras, an empty reference is none, spaces around cells do not count."""
    content = (
        "\ufeffleads_id, leads_name,leads_phone,reference_id,product\r\n"
        "lead-1,name 1, 1381 ,,course\r\n"
        'lead-2,"name, ""2""",1382,ref-2,\r\n'
    ).encode()
    assert read(content) == [
        (
            2,
            LeadAdded(
                task_id=TASK,
                leads_id=LeadId("lead-1"),
                leads_name="name 1",
                leads_phone="1381",
                extras={"product": "course"},
            ),
        ),
        (
            3,
            LeadAdded(
                task_id=TASK,
                leads_id=LeadId("lead-2"),
                leads_name='name, "2"',
                leads_phone="1382",
                reference_id=ReferenceId("ref-2"),
                extras={"product": ""},
            ),
        ),
    ]


@pytest.mark.parametrize(
    ("line", "word"),
    [
        (b"lead-2,name 2\n", "2 columns"),
        (b"lead-2,name 2,1382,more\n", "4 columns"),
        (b"lead-2,name 2,\n", "leads_phone"),
        (b",name 2,1382\n", "leads_id"),
        (b"x" * 129 + b",name 2,1382\n", "leads_id"),
        (b"lead\x00,name 2,1382\n", "leads_id"),
        (b"lead-2,\xff\xfe,1382\n", "UTF-8"),
        (b'lead-2,"name"2,1382\n', "CSV"),
        (b'lead-2,"name 2,1382\n', "quote"),
    ],
)
def test_a_bad_line_costs_itself_only(line: bytes, word: str) -> None:
    """The lines before and after it are leads; the reason names what is wrong and holds no phone number."""
    lines = dict(read(HEADER + b"lead-1,name 1,1381\n" + line + b"lead-3,name 3,1383\n"))
    assert lines[2] == lead(1)
    assert lines[4] == lead(3)
    rejected = lines[3]
    assert isinstance(rejected, Rejected)
    assert word in rejected.reason
    assert "1382" not in rejected.reason


def test_quoted_line_breaks_belong_to_the_cell() -> None:
    """A record may have several lines; the next one's number counts them."""
    content = HEADER + b'lead-1,"first\n\nthird",1381\nlead-2,name 2,1382\n'
    assert read(content) == [(2, lead(1, leads_name="first\n\nthird")), (5, lead(2))]


@pytest.mark.parametrize(
    ("header", "word"),
    [(b"id,leads_name\n", "leads_id, leads_phone"), (HEADER[:-1] + b",leads_id\n", "twice"), (b"\xff\xfe\n", "UTF-8")],
)
def test_a_bad_header_is_the_only_answer(header: bytes, word: str) -> None:
    """Without a header nothing can be read, and that is said once."""
    ((number, line),) = read(header + b"lead-1,name 1,1381\n")
    assert number == 1
    assert isinstance(line, Rejected)
    assert word in line.reason


def test_json_lines_are_known_by_their_first_character_or_suffix() -> None:
    """Empty lines are passed over; further text fields are extras, beside the object of that name."""
    first = b'{"leads_id":"lead-1","leads_name":"name 1","leads_phone":"1381","product":"course","extras":{"a":"b"}}\n'
    (found,) = read(b"\n  \n" + first)
    assert found[0] == 3
    assert isinstance(found[1], LeadAdded)
    assert found[1].extras == {"product": "course", "a": "b"}
    assert reasons(b"leads_id\n", "leads.JSONL") == {1: "the line is not JSON in UTF-8"}


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"leads_phone": 1382}, "leads_phone"),
        ({"leads_phone": None}, "leads_phone"),
        ({"leads_name": " "}, "leads_name"),
        ({"task_id": "task-2"}, "task_id"),
        ({"task_id": ["task-1"]}, "task_id"),
        ({"extras": {"a": 1}}, "extras"),
        ({"extras": []}, "extras"),
        ({"added_at": "yesterday"}, "added_at"),
        ({"reference_id": ""}, "reference_id"),
    ],
)
def test_a_bad_object_names_its_field(fields: dict[str, object], word: str) -> None:
    """What every reader of the topic would refuse is refused here already."""
    good = {"leads_id": "lead-2", "leads_name": "name 2", "leads_phone": "1382"}
    reason = reasons(orjson.dumps(good | fields), "leads.ndjson")[1]
    assert word in reason
    assert "1382" not in reason


def test_objects_that_are_none() -> None:
    """Other JSON, and JSON too deep to be written again, is rejected too."""
    deep = b'{"leads_id":"1","leads_name":"n","leads_phone":"1","extras":' + b"[" * 500 + b"]" * 500 + b"}\n"
    assert set(reasons(b"[]\n1\n" + deep, "x.jsonl")) == {1, 2, 3}


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl"])
def test_a_lead_that_is_there_already_is_rejected_with_its_first_line(name: str) -> None:
    """The first one would stay anyway; nobody would hear of the second."""
    rows = [("lead-1", "name 1"), ("lead-2", "name 2"), ("lead-1", "another")]
    if name == "x.csv":
        content = HEADER + b"".join(f"{row[0]},{row[1]},138\n".encode() for row in rows)
        assert reasons(content, name) == {4: "leads_id is that of line 2"}
    else:
        lines = [orjson.dumps({"leads_id": row[0], "leads_name": row[1], "leads_phone": "138"}) for row in rows]
        assert reasons(b"\n".join(lines), name) == {3: "leads_id is that of line 1"}


@pytest.mark.parametrize(
    "good", [b"lead-1,name 1,1381\n", b'{"leads_id":"lead-1","leads_name":"n","leads_phone":"1"}\n']
)
def test_a_line_without_end_is_never_held_in_memory(good: bytes) -> None:
    """Only its begin is read into memory at once; it costs itself, and the next line is read."""
    is_csv = good.startswith(b"lead-1")
    content = (HEADER if is_csv else good) + b'{"' + b"x" * 5_000_000 + b"\n" + (good if is_csv else b"[]\n")
    longest = 0

    def readline(limit: int) -> bytes:
        nonlocal longest
        line = file.readline(limit)
        longest = max(longest, len(line))
        return line

    file = BytesIO(content)
    found = dict(read_leads(bounded_lines(readline), task_id=TASK))
    assert found[2] == Rejected("the line is too long for a record")
    assert 3 in found
    assert longest <= MAX_RECORD_BYTES + 1


@given(content=st.binary(max_size=400), name=st.sampled_from(["", "x.jsonl", "x.csv"]), has_header=st.booleans())
def test_no_file_raises(content: bytes, name: str, *, has_header: bool) -> None:
    """Whatever is in a file, every line is a lead or a reason, in ascending order."""
    lines = read((HEADER if has_header else b"") + content, name)
    numbers = [number for number, _ in lines]
    assert numbers == sorted(set(numbers))


CELLS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\x0b\x0c\x1c\x1d\x1e\x85"), max_size=20
)


@given(rows=st.lists(st.tuples(CELLS, CELLS), max_size=5))
def test_what_a_csv_writer_writes_is_read(rows: list[tuple[str, str]]) -> None:
    """Quotes, commas and line breaks in names and extras survive; only the spaces around them do not."""
    file = StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(["leads_id", "leads_phone", "leads_name", "note"])
    writer.writerows([str(number), "1", f"n{name}", note] for number, (name, note) in enumerate(rows))
    lines = BytesIO(file.getvalue().encode())
    found = [line for _, line in read_leads(lines, task_id=TASK, name="x.csv")]
    assert [(line.leads_name, (line.extras or {})["note"]) for line in found if isinstance(line, LeadAdded)] == [
        (f"n{name}".strip(), note.strip()) for name, note in rows
    ]
