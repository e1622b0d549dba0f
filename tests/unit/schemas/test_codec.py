"""Bytes to event and back: what is refused, by which name, and what is cleaned."""

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import DecodeError, decode, encode
from schemas.ids import EventId, LeadId, ReferenceId, TaskId, reference_id_for
from schemas.jobs import StatusChanged, Turn
from schemas.leads import LeadAdded
from schemas.topics import ALL, AnyTopic

LEAD = {"task_id": "t", "leads_id": "l", "leads_name": "n", "leads_phone": "1"}
INSTANTS = st.datetimes(
    min_value=datetime(1970, 1, 2),
    max_value=datetime(2200, 1, 1),
    timezones=st.just(UTC),
).map(lambda t: t.replace(microsecond=t.microsecond // 1000 * 1000))


def lead_bytes(**changes: object) -> bytes:
    """A lead event with some fields replaced."""
    return json.dumps(LEAD | changes).encode()


def test_unknown_fields_are_ignored_and_null_is_absent() -> None:
    """Tolerant readers: a producer may say more, and may spell absence as null."""
    unknown = {"deep": [1, "\x00"], "task_id": "\ud800"}
    event = decode(lead_bytes(reference_id=None, added_at=None, extras=None, colour=unknown), LeadAdded)
    assert event == LeadAdded(task_id=TaskId("t"), leads_id=LeadId("l"), leads_name="n", leads_phone="1")


def test_the_default_reference_is_a_uuid5_of_the_compact_array() -> None:
    """The contract's derivation, pinned: another language must arrive at the same id."""
    assert reference_id_for(TaskId("task-1"), LeadId("lead-1")) == "19a0ec48-6b01-578b-82e4-f5ffaaa3795c"
    assert reference_id_for(TaskId("1"), LeadId("23")) != reference_id_for(TaskId("12"), LeadId("3"))


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (lead_bytes(task_id=1), "$.task_id"),
        (lead_bytes(task_id=""), "$.task_id"),
        (lead_bytes(task_id="x" * 129), "$.task_id"),
        (lead_bytes(task_id="a\x00b"), "$.task_id"),
        (lead_bytes(leads_phone="\ud800"), "$.leads_phone"),
        (lead_bytes(added_at="2026-02-30T00:00:00Z"), "$.added_at"),
        (lead_bytes(added_at="2026-02-20T00:00:00"), "$.added_at"),
        (lead_bytes(extras={"a": 1}), "$.extras"),
        (lead_bytes(added_at="0001-01-01T00:00:00+10:00"), "$.added_at"),
        (lead_bytes(added_at="9999-12-31T23:59:59-10:00"), "$.added_at"),
        (b'{"task_id": "t"}', "leads_id"),
    ],
)
def test_a_wrong_field_is_named(value: bytes, named: str) -> None:
    """The reason in a dead letter says which field."""
    with pytest.raises(DecodeError) as refusal:
        decode(value, LeadAdded)
    assert named in str(refusal.value)


@pytest.mark.parametrize(
    "value",
    [
        None, b"", b"\xff", b"[]", b"null", b'"x"', b"{", b"{} {}", lead_bytes() + b"x", b'{"a":NaN}', b"[" * 100_000,
        b'{"task_id":"t","leads_id":"l","leads_name":"n","leads_phone":"1","x":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        lead_bytes(x="\ud800")[:-1] + b',"y":NaN}', b"\xef\xbb\xbf" + lead_bytes(), b'{"leads_name":"\xff"}',
    ],
)  # fmt: skip
def test_what_is_not_one_json_object_of_the_type_is_refused(value: bytes | None) -> None:
    """Malformed, truncated, nested too deeply, not UTF-8: DecodeError and nothing else."""
    with pytest.raises(DecodeError):
        decode(value, LeadAdded)


@given(st.binary(max_size=200), st.sampled_from(ALL))
def test_no_bytes_raise_anything_but_a_decode_error(value: bytes, topic: AnyTopic) -> None:
    """Whatever comes, the reader lives."""
    with suppress(DecodeError):
        decode(value, topic.event)


@given(st.text(st.characters(codec=None), max_size=40))
def test_free_text_is_cleaned_of_what_no_database_holds(text: str) -> None:
    """NUL and lone surrogates become U+FFFD in a name; all else stays."""
    event = decode(json.dumps(LEAD | {"leads_name": text}).encode(), LeadAdded)
    assert "\x00" not in event.leads_name
    event.leads_name.encode()
    storable = [c for c in text if c != "\x00" and not 0xD800 <= ord(c) < 0xE000]
    assert all(character in event.leads_name for character in storable)


@given(at=INSTANTS, text=st.text(max_size=20), version=st.integers(0, 2**63 - 1))
def test_encoding_and_decoding_are_inverse(at: datetime, text: str, version: int) -> None:
    """A round trip keeps every value, and times have milliseconds and a Z."""
    event = StatusChanged(
        event_id=EventId("e"), task_id=TaskId("t"), reference_id=ReferenceId("r"), call_job_id="j",  # type: ignore[arg-type]
        version=version, observed_at=at, call_status="Executing", is_terminal=False, changed=(),
        call_conversation=(Turn(speaker="Robot", script=text.replace("\x00", ""), at=at),),
    )  # fmt: skip
    value = encode(event)
    assert decode(value, StatusChanged) == event
    assert json.loads(value)["observed_at"] == at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def test_extras_may_be_called_like_fields() -> None:
    """What the script is handed is free text, whatever its keys."""
    assert decode(lead_bytes(extras={"leads_id": "a\x00"}), LeadAdded).extras == {"leads_id": "a\ufffd"}


def test_times_of_other_zones_are_written_in_utc() -> None:
    """An offset is a way to write an instant, not a part of it."""
    at = datetime(2026, 11, 23, 16, 0, tzinfo=timezone(timedelta(hours=8)))
    event = LeadAdded(task_id=TaskId("t"), leads_id=LeadId("l"), leads_name="n", leads_phone="1", added_at=at)
    assert json.loads(encode(event))["added_at"] == "2026-11-23T08:00:00.000Z"


@pytest.mark.parametrize("name", ["n", "n\x00"])
@pytest.mark.parametrize("text", ["2016-12-31T23:59:60Z", "2016-12-31t23:59:60.5z", "2017-01-01T07:59:60+08:00"])
def test_a_leap_second_is_a_time(text: str, name: str) -> None:
    """RFC 3339 has them, and a clock that shows one is right; it counts as the end of the second before."""
    lead = decode(lead_bytes(added_at=text, leads_name=name), LeadAdded)
    assert lead.added_at == datetime(2016, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)


@pytest.mark.parametrize("text", ["2016-12-31T23:58:60Z", "2016-12-31T23:59:61Z", "2016-13-31T23:59:60Z"])
def test_a_sixtieth_second_is_one_only_at_the_end_of_a_day(text: str) -> None:
    """Anywhere else it is wrong, and named."""
    with pytest.raises(DecodeError, match="added_at"):
        decode(lead_bytes(added_at=text), LeadAdded)


def test_every_event_has_a_key_and_a_time() -> None:
    """The registry names only fields that the events have."""
    for topic in ALL:
        fields = {field.name for field in msgspec.structs.fields(topic.event)} | {"reference"}
        assert topic.key_field in fields
        assert topic.time_field in fields
