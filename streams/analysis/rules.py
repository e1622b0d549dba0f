"""Analysis by rules, for Chinese and English: what the contact said is weighed, and doubt is called doubt.

Each turn of the contact is read for signs. Later signs weigh more, because people change their minds; a clear word
weighs more than politeness. A robot's turn only gives context: a bare yes or no counts for what was asked. Machines,
wrong numbers and calls put off to another time say nothing about interest unless the contact says so as well.
"""

import re
from collections.abc import Sequence
from typing import Final

from schemas.followups import CANNOT_TELL, INTERESTED, NOT_INTERESTED
from schemas.jobs import Turn
from streams.analysis.protocol import Verdict
from streams.analysis.signs import (
    BARE_NO,
    BARE_YES,
    CLOSED_QUESTION,
    LATER,
    MACHINE,
    NEGATION,
    NO,
    OFFER,
    WRONG_NUMBER,
    YES,
    Sign,
)

CONTACT: Final = "Contact"
DECISIVE: Final = 1.0
LATER_FACTOR: Final = 1.6

_PUNCTUATION: Final = re.compile(r"[\s,.!?，。！？、~…]+")

_SUMMARIES: Final = {
    "interested": Verdict(is_interested=INTERESTED, summary="The contact is interested.", reason="clear signs of yes"),
    "refused": Verdict(is_interested=NOT_INTERESTED, summary="The contact is not interested.", reason="signs of no"),
    "machine": Verdict(
        is_interested=CANNOT_TELL, summary="A machine or an assistant answered.", reason="voicemail or assistant"
    ),
    "wrong": Verdict(
        is_interested=CANNOT_TELL, summary="Someone other than the contact answered.", reason="wrong person or number"
    ),
    "later": Verdict(
        is_interested=CANNOT_TELL, summary="The contact asked to be called another time.", reason="put off"
    ),
    "silent": Verdict(is_interested=CANNOT_TELL, summary="The contact said nothing.", reason="no turn of the contact"),
    "unclear": Verdict(
        is_interested=CANNOT_TELL,
        summary="It cannot be told whether the contact is interested.",
        reason="no clear sign",
    ),
}


class RuleAnalyzer:
    """The analyzer that needs nobody else; pure, so never in doubt about its answer to the same words."""

    @property
    def name(self) -> str:
        """What its records say made them."""
        return "rules"

    async def analyze(self, conversation: Sequence[Turn]) -> Verdict:
        """Return the verdict of the rules."""
        return judge(conversation)


def judge(conversation: Sequence[Turn]) -> Verdict:
    """Return what the contact's words mean together."""
    spoken = [turn.script for turn in conversation if turn.speaker == CONTACT and turn.script.strip()]
    if not spoken:
        return _SUMMARIES["silent"]
    if any(MACHINE.search(text) for text in spoken):
        return _SUMMARIES["machine"]
    leaning, is_later, is_wrong, question = 0.0, False, False, ""
    for turn in conversation:
        if turn.speaker != CONTACT:
            question = turn.script
            continue
        weight = _weigh(turn.script, question)
        is_wrong = is_wrong or bool(WRONG_NUMBER.search(turn.script))
        is_later = bool(LATER.search(turn.script)) or (is_later and not weight)
        leaning = _join(leaning, weight)
    return _SUMMARIES[_name(leaning, is_later=is_later, is_wrong=is_wrong)]


def _name(leaning: float, *, is_later: bool, is_wrong: bool) -> str:
    if is_wrong:
        return "wrong"
    if leaning >= DECISIVE and not (is_later and leaning < 2 * DECISIVE):
        return "interested"
    if leaning <= -DECISIVE and not (is_later and leaning > -2 * DECISIVE):
        return "refused"
    return "later" if is_later else "unclear"


def _join(leaning: float, weight: float) -> float:
    """Let what is said now outweigh what was said before where the two disagree."""
    if leaning * weight < 0:
        return leaning / LATER_FACTOR + weight * LATER_FACTOR
    return leaning + weight


def _weigh(text: str, question: str) -> float:
    """Return how much one turn leans towards yes (above 0) or no (below 0)."""
    weight, rest = 0.0, text
    for signs, sign_of in ((NO, -1.0), (YES, 1.0)):
        found, rest = _take(rest, signs)
        weight += sign_of * found
    if weight:
        return weight
    return _weigh_bare(text, question)


def _take(text: str, signs: Sequence[Sign]) -> tuple[float, str]:
    """Return the strongest sign's weight, and the text without any: `不感兴趣` must not be read as `感兴趣` too."""
    strongest = 0.0
    for sign in signs:
        text, count = sign.pattern.subn(" ", text)
        if count:
            strongest = max(strongest, sign.weight)
    return strongest, text


def _weigh_bare(text: str, question: str) -> float:
    """Weigh a bare yes or no by what was asked."""
    said = _PUNCTUATION.sub(" ", text)
    if NEGATION.search(said):
        if _is_only(BARE_NO, said):
            return -1.0 if CLOSED_QUESTION.search(question) else -0.5
    elif _is_only(BARE_YES, said) and OFFER.search(question):
        return 1.0
    return 0.0


def _is_only(words: re.Pattern[str], text: str) -> bool:
    return bool(text.strip()) and not words.sub("", text).strip()
