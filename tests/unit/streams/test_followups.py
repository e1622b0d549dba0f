"""Follow-up records, decided without I/O."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.followups import JobAnalysisRequested
from schemas.ids import CallJobId, EventId, ReferenceId, TaskId, follow_up_id_for
from schemas.instants import from_milliseconds
from schemas.jobs import StatusChanged, Turn
from streams.analysis.protocol import Verdict
from streams.followups import (
    Analyze,
    EmitAgain,
    Entry,
    Ignore,
    Question,
    Remember,
    conclude,
    decide,
    decode_entry,
    encode_entry,
    record_of,
)

T0 = 1_790_000_000_000
TALK = (Turn(speaker="Contact", script="好的"),)
STATUS = StatusChanged(
    event_id=EventId("s"),
    task_id=TaskId("task"),
    reference_id=ReferenceId("ref"),
    call_job_id=CallJobId("job"),
    version=10,
    observed_at=from_milliseconds(T0),
    call_status="Succeeded",
    call_conversation=TALK,
    changed=("call_status",),
    is_terminal=True,
)
REQUEST = JobAnalysisRequested(
    event_id=EventId("r"),
    task_id=TaskId("task"),
    call_job_id=CallJobId("job"),
    call_status="Succeeded",
    call_conversation=TALK,
    status_version=10,
    follow_version=0,
    is_forced=True,
    requested_at=from_milliseconds(T0),
)
YES = Verdict(is_interested=1, summary="Yes.", reason="said so", analyzer="rules")


def answered(question: Question, entry: Entry | None = None, now_ms: int = T0) -> Entry:
    """The entry after an analysis."""
    return conclude(entry, question, YES, now_ms=now_ms)


AUTOMATIC = answered(Question.from_status(STATUS))
FORCED = answered(Question.from_request(REQUEST))


def test_ended_calls_are_analysed_and_cancelled_ones_are_not() -> None:
    """Succeeded and Failed lead to a record, with a conversation or without; no other status does."""
    for status in ("Succeeded", "Failed"):
        assert decide(None, Question.from_status(replace(STATUS, call_status=status))) == Analyze()
        assert (
            decide(None, Question.from_status(replace(STATUS, call_status=status, call_conversation=()))) == Analyze()
        )
    for status in ("Cancelled", "NotExist"):
        assert decide(None, Question.from_status(replace(STATUS, call_status=status))) == Ignore()
        assert decide(None, Question.from_request(replace(REQUEST, call_status=status))) == Analyze()


def test_one_conversation_is_analysed_once() -> None:
    """A repeat is ignored; a newer status with the same words is only remembered; new words are analysed."""
    assert decide(AUTOMATIC, Question.from_status(STATUS)) == Ignore()
    newer = decide(AUTOMATIC, Question.from_status(replace(STATUS, version=11)))
    assert newer == Remember(replace(AUTOMATIC, status_version=11))
    longer = replace(STATUS, version=11, call_conversation=(*TALK, *TALK))
    assert decide(AUTOMATIC, Question.from_status(longer)) == Analyze()
    assert decide(AUTOMATIC, Question.from_status(replace(longer, version=9))) == Ignore()


def test_what_a_person_asked_for_is_not_overwritten_by_the_same_conversation() -> None:
    """After a forced analysis the automatic one of that conversation is dropped, that of another is not."""
    assert decide(FORCED, Question.from_status(STATUS)) == Ignore()
    other = replace(STATUS, version=11, call_conversation=())
    assert decide(FORCED, Question.from_status(other)) == Analyze()


def test_a_forced_request_is_answered_once() -> None:
    """Each request leads to a newer version of the same record; its repeat to nothing."""
    question = Question.from_request(REQUEST)
    assert decide(AUTOMATIC, question) == Analyze()
    entry = answered(question, AUTOMATIC)
    assert decide(entry, question) == Ignore()
    assert decide(entry, Question.from_request(replace(REQUEST, event_id=EventId("r2")))) == Analyze()
    before, after = (
        record_of(AUTOMATIC, Question.from_status(STATUS)),
        record_of(entry, question),
    )
    assert after.leads_follow_id == before.leads_follow_id == follow_up_id_for(CallJobId("job"))
    assert after.version > before.version
    assert after.is_forced


def test_an_audit_sends_a_lost_record_again_as_it_was() -> None:
    """Without another analysis; where its version was stored, a newer one puts it back into the row."""
    audit = replace(REQUEST, is_forced=False)
    assert decide(None, Question.from_request(audit)) == Analyze()
    assert decide(AUTOMATIC, Question.from_request(audit)) == EmitAgain(AUTOMATIC)
    assert decide(FORCED, Question.from_request(audit)) == EmitAgain(FORCED)
    damaged = Question.from_request(replace(audit, follow_version=AUTOMATIC.version))
    assert decide(AUTOMATIC, damaged) == EmitAgain(replace(AUTOMATIC, version=AUTOMATIC.version + 1))
    again = record_of(AUTOMATIC, Question.from_request(audit))
    assert again == record_of(AUTOMATIC, Question.from_status(STATUS))


LATER = replace(REQUEST, is_forced=False, requested_at=from_milliseconds(T0 + 1))
NOBODY = Verdict(is_interested=0, summary="Could not.", reason="away", analyzer="unavailable/qwen")


def test_the_audit_has_an_owed_analysis_made_once_per_asking() -> None:
    """Where nobody could be reached the same words are analysed again, but not for what was asked before that try."""
    owed = conclude(None, Question.from_status(STATUS), NOBODY, now_ms=T0)
    assert (owed.is_interested, owed.analyzer) == (0, "unavailable/qwen")
    assert decide(owed, Question.from_status(replace(STATUS, version=11))) == Remember(replace(owed, status_version=11))
    assert decide(owed, Question.from_request(LATER)) == Analyze()
    assert decide(owed, Question.from_request(replace(LATER, requested_at=from_milliseconds(T0)))) == EmitAgain(owed)
    assert decide(AUTOMATIC, Question.from_request(LATER)) == EmitAgain(AUTOMATIC)
    refused = replace(owed, analyzer="refused/qwen")
    assert decide(refused, Question.from_request(LATER)) == EmitAgain(refused)
    answer = answered(Question.from_request(LATER), owed, now_ms=T0 + 2)
    assert (answer.is_interested, answer.analyzer, answer.is_forced) == (1, "rules", False)


def test_what_is_known_outlives_an_analysis_that_failed() -> None:
    """Who asks again while the model is away does not lose the first answer; the failure shows and is made good."""
    question = Question.from_request(REQUEST)
    kept = conclude(AUTOMATIC, question, NOBODY, now_ms=T0 + 5)
    assert (kept.is_interested, kept.summary, kept.analyzer) == (1, "Yes.", "unavailable/qwen")
    assert kept.version > AUTOMATIC.version
    assert decide(kept, Question.from_request(replace(LATER, requested_at=from_milliseconds(T0 + 9)))) == Analyze()
    other = Question.from_request(replace(REQUEST, call_conversation=(*TALK, *TALK)))
    assert conclude(AUTOMATIC, other, NOBODY, now_ms=T0 + 5).is_interested == 0


def test_a_forced_request_never_puts_older_words_in_place_of_newer_ones() -> None:
    """It was expanded before a newer status was analysed: that record, with a newer version, is its answer."""
    newer = answered(Question.from_status(replace(STATUS, version=12, call_conversation=(*TALK, *TALK))))
    question = Question.from_request(replace(REQUEST, follow_version=newer.version + 3))
    decision = decide(newer, question)
    assert isinstance(decision, EmitAgain)
    assert decision.entry == replace(newer, version=newer.version + 4, is_forced=True, requests=(EventId("r"),))
    assert decide(decision.entry, question) == Ignore()


def test_forced_requests_read_again_in_any_order_change_nothing() -> None:
    """A crash, or a group set back, brings the last ones again: none is answered twice."""
    entry = AUTOMATIC
    questions = [Question.from_request(replace(REQUEST, event_id=EventId(f"r{number}"))) for number in range(8)]
    for question in questions:
        assert decide(entry, question) == Analyze()
        entry = answered(question, entry)
    assert {type(decide(entry, question)) for question in reversed(questions)} == {Ignore}


def test_without_a_table_the_clock_makes_the_version() -> None:
    """A status brings no stored version: milliseconds since 1970 are newer than any that was given before."""
    assert answered(Question.from_status(STATUS), None, now_ms=T0).version == T0
    assert answered(Question.from_request(replace(REQUEST, follow_version=T0 + 7)), None, now_ms=T0).version == T0 + 8


def test_an_entry_survives_its_encoding() -> None:
    """What is stored is what is read."""
    assert decode_entry(encode_entry(FORCED)) == FORCED
    assert decode_entry(None) is None


@given(
    st.lists(
        st.tuples(st.sampled_from(["status", "forced", "audit"]), st.integers(0, 9), st.integers(0, 2)), max_size=30
    )
)
def test_any_order_of_questions_keeps_the_newest_conversation(steps: list[tuple[str, int, int]]) -> None:
    """Versions grow, no conversation is analysed twice in a row unasked, and an old status changes nothing."""
    entry: Entry | None = None
    for number, (kind, version, words) in enumerate(steps):
        talk = (Turn(speaker="Contact", script=str(words)),)
        if kind == "status":
            question = Question.from_status(replace(STATUS, version=version, call_conversation=talk))
        else:
            request = replace(REQUEST, event_id=EventId(str(number)), status_version=version, call_conversation=talk)
            question = Question.from_request(replace(request, is_forced=kind == "forced"))
        decision = decide(entry, question)
        if isinstance(decision, Analyze):
            after = answered(question, entry, now_ms=T0 - number)
            assert entry is None or after.version > entry.version
            assert question.is_forced or entry is None or question.digest != entry.digest
            assert entry is None or version >= entry.status_version or question.digest == entry.digest
            entry = after
        elif not isinstance(decision, Ignore):
            assert entry is not None
            assert decision.entry.version >= entry.version
            entry = decision.entry
