"""What a model is told, and what of its answer is believed.

These tests prove that words cannot leave their place, and that only answers of the schema get through. They cannot
prove that a model is not talked into a wrong answer of the right form: no test without that model can.
"""

import json
import unicodedata
from hashlib import blake2b
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.jobs import Turn
from streams.analysis.masking import mask, mask_all
from streams.analysis.prompting import (
    MOST_CHARACTERS,
    MOST_SUMMARY_CHARACTERS,
    MOST_TURN_CHARACTERS,
    UnusableError,
    document_of,
    prompt,
    read_answer,
)

INJECTIONS = [
    json.loads(line)
    for line in (Path(__file__).parent / "data" / "injections.jsonl").read_text(encoding="utf-8").splitlines()
]
PROMPTS = {"1": "8263d6fbcd06"}


def shown(*words: str) -> list[dict[str, str]]:
    """The turns that a model reads where a contact says these words."""
    document = json.loads(document_of([Turn(speaker="Contact", script=each) for each in words]))
    assert list(document) == ["conversation"]
    turns: list[dict[str, str]] = document["conversation"]
    return turns


def answer(**changed: object) -> str:
    """An answer as the schema has it, changed."""
    return json.dumps({"reason": "r", "summary": "s", "is_interested": 1} | changed)


@pytest.mark.parametrize("words", INJECTIONS)
def test_no_try_to_steer_leaves_its_turn(words: str) -> None:
    """Whatever it says, it is the text of one turn of the contact, and no mark of a chat's format is in the message."""
    turns = shown("喂", words, "没兴趣")
    assert [turn["speaker"] for turn in turns] == ["contact"] * 3
    assert (turns[0]["text"], turns[2]["text"]) == ("喂", "没兴趣")
    assert len(turns[1]["text"]) <= MOST_TURN_CHARACTERS
    assert turns[1]["text"][:100] == mask(words)[:100]
    assert turns[1]["text"][-100:] == mask(words)[-100:]
    document = document_of([Turn(speaker="Contact", script=words)])
    assert "<" not in document
    assert "\n" not in document
    assert not any(unicodedata.category(letter) in {"Cf", "Cs", "Co"} for letter in document)


@given(st.lists(st.text(max_size=60), max_size=6))
def test_every_text_comes_back_as_the_text_of_its_turn(words: list[str]) -> None:
    """Delimiters cannot be closed from inside, by any text at all."""
    assert [turn["text"] for turn in shown(*words)] == (mask_all(words) if words else [])


@given(st.text(max_size=30))
def test_who_speaks_is_said_by_the_event_alone(speaker: str) -> None:
    """There are two speakers, whatever the cloud calls them."""
    [turn] = json.loads(document_of([Turn(speaker=speaker, script="x")]))["conversation"]
    assert turn["speaker"] == ("contact" if speaker == "Contact" else "robot")


def test_a_long_conversation_is_cut_in_the_middle_with_a_mark() -> None:
    """The beginning and, above all, the end stay whole; so does each turn's."""
    turns = shown(*(f"{number:04} " + "好" * 95 for number in range(400)))
    texts = [turn["text"] for turn in turns]
    assert sum(map(len, texts)) <= MOST_CHARACTERS + 40
    assert (texts[0][:4], texts[-1][:4]) == ("0000", "0399")
    [mark] = [text for text in texts if text.startswith("[")]
    assert mark == f"[{400 - len(texts) + 1} turns left out]"
    assert texts.index(mark) < len(texts) / 2
    [long] = shown("开头" + "啊" * 5_000 + "结尾")
    assert len(long["text"]) <= MOST_TURN_CHARACTERS
    assert long["text"].startswith("开头")
    assert long["text"].endswith("结尾")
    assert "[...]" in long["text"]


def test_a_conversation_of_very_many_words_apart_is_cut_as_well() -> None:
    """Each turn costs the model its frame, so ten thousand mumbled ones are no short conversation."""
    document = document_of([Turn(speaker="Contact", script="嗯")] * 10_000 + [Turn(speaker="Contact", script="没兴趣")])
    assert len(document) < 2 * MOST_CHARACTERS
    assert json.loads(document)["conversation"][-1]["text"] == "没兴趣"


@pytest.mark.parametrize(
    "content",
    [
        "", "{}", "null", "1", "[]", "Sure! {}", answer(is_interested=3), answer(is_interested="1"),
        answer(is_interested=True), answer(is_interested=1.5), answer(extra=1), answer(summary=""), answer(summary=1),
        answer(summary=" \u0000 "), answer()[:-1], "```json\n" + answer() + "\n```", answer() + answer(), "\ud800",
    ],
)  # fmt: skip
def test_only_answers_of_the_schema_are_believed(content: str) -> None:
    """Anything else is no answer, however near it comes."""
    with pytest.raises(UnusableError):
        read_answer(content)


def test_what_a_model_says_is_masked_and_fit_for_a_record() -> None:
    """A number that it was talked into repeating stays out of the record; so does what no text can hold."""
    said = read_answer(answer(summary="客户电话13800138000，\u0000姓名\n王建国先生", reason="身份证11010519491231002X"))
    assert said.summary == "客户电话[number]， 姓名 [name]先生"
    assert said.reason == "身份证[number]"
    assert len(read_answer(answer(summary="很" * 2_000)).summary) == MOST_SUMMARY_CHARACTERS


def test_a_changed_prompt_has_a_new_version() -> None:
    """`analyzer` in a record tells by which words it was made; who changes them adds a version here."""
    version, text = prompt()
    assert PROMPTS[version] == blake2b(text.encode(), digest_size=6).hexdigest()
