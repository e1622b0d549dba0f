"""The rules that analyse conversations, on labelled ones."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.jobs import Turn
from streams.analysis.rules import judge

DATA = Path(__file__).parent / "data" / "conversations.jsonl"
Labelled = tuple[tuple[Turn, ...], int]


def labelled(split: str) -> Iterator[Labelled]:
    """The conversations of a split with what a person said of them."""
    for line in DATA.read_text().splitlines():
        document = json.loads(line)
        if document["split"] == split:
            yield tuple(Turn(**turn) for turn in document["turns"]), document["is_interested"]


@pytest.mark.parametrize(("split", "at_least"), [("tuning", 0.95), ("held_out", 0.85)])
def test_rules_agree_with_people(split: str, at_least: float) -> None:
    """Most verdicts are the label, on conversations that rules were adjusted on and on others of the same author."""
    examples = list(labelled(split))
    right = sum(judge(conversation).is_interested == label for conversation, label in examples)
    assert len(examples) >= 25
    assert right / len(examples) >= at_least


def test_yes_and_no_are_never_mistaken_for_each_other() -> None:
    """Doubt may be wrong in either direction; the opposite of what a person meant is not."""
    for split in ("tuning", "held_out"):
        for conversation, label in labelled(split):
            assert {judge(conversation).is_interested, label} != {1, 2}, conversation


def test_the_robot_alone_decides_nothing() -> None:
    """Whatever the robot says, silence of the contact is doubt."""
    verdict = judge([Turn(speaker="Robot", script="您很感兴趣是吧？不需要？")])
    assert verdict.is_interested == 0


def test_a_bare_yes_counts_only_for_an_offer() -> None:
    """`嗯` to an offer is a yes, to `are you there` it is not."""
    offer, presence = Turn(speaker="Robot", script="您有兴趣了解一下吗？"), Turn(speaker="Robot", script="您在听吗？")
    answer = Turn(speaker="Contact", script="嗯，可以")
    assert judge([offer, answer]).is_interested == 1
    assert judge([presence, answer]).is_interested == 0


@pytest.mark.timeout(10)
def test_a_long_text_is_read_in_no_time() -> None:
    """No pattern backtracks: thousands of words of agreement, then something else."""
    for words in ("好的是的", "ok okay yes ", "不不是没有", "等再加发我"):
        assert judge([Turn(speaker="Contact", script=words * 5_000 + "再见")]).is_interested in {0, 1, 2}


def test_summaries_quote_nobody() -> None:
    """A summary holds no digits, so no phone number, whatever was said."""
    verdict = judge([Turn(speaker="Contact", script="我很感兴趣，打13800138000给我")])
    assert verdict.is_interested == 1
    assert not any(letter.isdigit() for letter in verdict.summary + verdict.reason)
