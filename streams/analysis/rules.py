"""Analysis by rules, for Chinese and English: what the contact said is weighed, and doubt is called doubt.

Each turn of the contact is read for signs. Later signs weigh more, because people change their minds; a clear word
weighs more than politeness. A robot's turn only gives context: a bare yes or no counts for what was asked. Machines,
wrong numbers and calls put off to another time say nothing about interest unless the contact says so as well.
"""

import re
from collections.abc import Sequence
from typing import Final

from schemas.followups import CANNOT_TELL, INTERESTED, NOT_INTERESTED, Interest
from schemas.jobs import Turn
from streams.analysis.protocol import CONTACT, Verdict
from streams.analysis.signs import (
    A_TIME,
    BARE_NO,
    BARE_YES,
    CALLING,
    CLOSED_QUESTION,
    CONTRAST,
    HEDGE,
    IDENTITY,
    IMPATIENT,
    LATER,
    MACHINE,
    NEGATION,
    NEUTRAL,
    NO,
    NO_OFFER,
    OFFER,
    PARTING,
    TURNS_AWAY,
    TURNS_BACK,
    WHEN_ASKED,
    WRONG_NUMBER,
    YES,
)
from streams.analysis.words import Words

NAME: Final = "rules"
DECISIVE: Final = 1.0
LATER_FACTOR: Final = 1.6
HEDGED: Final = 0.5
MIXED: Final = 0.4

_PUNCTUATION: Final = re.compile(r"[\s,.!?，。！？、~…]+")
# A refusal, or a wish, in the robot's own words: `您平时健身吗`, `不健身`; `给您续费吗`, `那续吧`, `咋续`.
_ECHOED_NO: Final = re.compile(
    r"(?:不(?:怎么|太|再|会|想)?|没有?|冇)(?!方便|时间|空|听|知道|清楚|收到|看|是|用|在|什么|啥|问题|意见|事)([\u4e00-\u9fff]{2})"
)
_ECHOED_YES: Final = re.compile(
    r"(?:那|就)([\u4e00-\u9fff]{1,2})(?:[吧呗]|一[个份下])|(?:怎么|咋个?|如何|啷个|点样)([\u4e00-\u9fff]{1,2})"
    r"|^[嗯哦啊，, ]*(?![是有在好您你])([\u4e00-\u9fff]{1,2})(?:嘛|呗|噻|撒|呀|喽|咯)"
)
_BEGINS: Final = r"\s*(?:[嗯哦啊哎噢诶，, ]|oh|well|um|uh)*(?:"
_ENDS: Final = r")(?:[，,。.!！;； ]|$)"
_BEGINS_WITH_YES: Final = re.compile(
    _BEGINS + r"(?:好|行|可以|中|成|得|要得|妥|没问题|当然|需要|有)[的啊呀嘞吧呢哦嘛咯哒滴好行]*|"
    r"yes|yeah|yep|sure|okay|ok|of course|definitely|absolutely|please|all ?right|great|perfect" + _ENDS
)
_BEGINS_WITH_NO: Final = re.compile(
    _BEGINS + r"(?:不|没有?|不了|不用|冇)[了啊的呀哦]*|no|nope|nah|not really|not at the moment" + _ENDS
)
_MUMBLE: Final = re.compile(r"[嗯啊哦噢哎诶呃对是喂\s，,。.]+|(?:uh|um|hm+|oh|huh|[\s,.])+")


def _verdict(is_interested: Interest, summary: str, reason: str) -> Verdict:
    return Verdict(is_interested=is_interested, summary=summary, reason=reason, analyzer=NAME)


_VERDICTS: Final = {
    "interested": _verdict(INTERESTED, "The contact is interested.", "clear signs of yes"),
    "refused": _verdict(NOT_INTERESTED, "The contact is not interested.", "signs of no"),
    "machine": _verdict(CANNOT_TELL, "A machine or an assistant answered.", "voicemail or assistant"),
    "wrong": _verdict(CANNOT_TELL, "Someone other than the contact answered.", "wrong person or number"),
    "later": _verdict(CANNOT_TELL, "The contact asked to be called another time.", "put off"),
    "none": _verdict(CANNOT_TELL, "There was no conversation.", "the call has no conversation"),
    "silent": _verdict(CANNOT_TELL, "The contact said nothing.", "no turn of the contact"),
    "unclear": _verdict(CANNOT_TELL, "It cannot be told whether the contact is interested.", "no clear sign"),
}


class RuleAnalyzer:
    """The analyzer that needs nobody else; pure, so never in doubt about its answer to the same words."""

    def analyze(self, conversation: Sequence[Turn]) -> Verdict:
        """Return the verdict of the rules, at once."""
        return judge(conversation)


def judge(conversation: Sequence[Turn]) -> Verdict:
    """Return what the contact's words mean together."""
    if not conversation:
        return _VERDICTS["none"]
    spoken = [(turn.speaker == CONTACT, turn.script.lower()) for turn in conversation]
    if not any(is_contact and text.strip() for is_contact, text in spoken):
        return _VERDICTS["silent"]
    if any(is_contact and MACHINE.are_in(text) for is_contact, text in spoken):
        return _VERDICTS["machine"]
    leaning, is_later, question = 0.0, False, ""
    for is_contact, text in spoken:
        if not is_contact:
            question = text
            continue
        if WRONG_NUMBER.are_in(text):
            return _VERDICTS["wrong"]
        weight = _weigh(text, question)
        is_later = LATER.are_in(text) or (is_later and not weight)
        leaning = _join(leaning, weight)
        if _is_in_doubt(leaning, weight, text, question):
            leaning *= HEDGED
    return _VERDICTS[_name(leaning, is_later=is_later)]


def _is_in_doubt(leaning: float, weight: float, text: str, question: str) -> bool:
    """Return whether a turn takes back half of the leaning: it hedges a yes, or sounds like a turn of mind.

    The latter where its own weight is not known; who says goodbye changes nothing.
    """
    if leaning > 0 and HEDGE.are_in(text):
        return True
    if weight or NO_OFFER.are_in(question):
        return False
    return TURNS_AWAY.are_in(text) if leaning > 0 else TURNS_BACK.are_in(text)


def _name(leaning: float, *, is_later: bool) -> str:
    if leaning >= DECISIVE:
        return "interested"
    if leaning <= -DECISIVE:
        return "refused"
    return "later" if is_later else "unclear"


def _join(leaning: float, weight: float) -> float:
    """Let what is said now outweigh what was said before where the two disagree."""
    if leaning * weight < 0:
        return leaning / LATER_FACTOR + weight * LATER_FACTOR
    return leaning + weight


def _weigh(text: str, question: str) -> float:
    """Return how much one turn leans towards yes (above 0) or no (below 0); of both, what comes last weighs more."""
    rest, _ = NEUTRAL.blank(text)
    no, no_ends, rest = NO.take(rest)
    yes, yes_ends, rest = YES.take(rest)
    if yes and CONTRAST.are_in(text[yes_ends:]):
        yes *= HEDGED
    if not no and not yes:
        return _weigh_answer(text, rest, question)
    return yes * MIXED - no if no_ends > yes_ends else yes - no * MIXED


def _weigh_answer(text: str, rest: str, question: str) -> float:
    """Weigh what says nothing by itself by what was asked: a bare yes or no, an echo of the question, a time."""
    said = _PUNCTUATION.sub(" ", text)
    is_offer = OFFER.are_in(question) and not NO_OFFER.are_in(question)
    if NEGATION.are_in(said):
        return _weigh_negation(text, said, rest, question, is_offer=is_offer)
    if any(match[match.lastindex or 0] in question for match in _ECHOED_YES.finditer(rest)):
        return 1.0
    if not is_offer:
        return 0.0
    if _is_only(BARE_YES, said):
        return 0.0 if IMPATIENT.are_in(said) else 0.5 if _MUMBLE.fullmatch(text) else 1.0
    if _BEGINS_WITH_YES.match(text):
        return 0.0 if PARTING.are_in(said) else 1.0
    return 1.0 if WHEN_ASKED.are_in(question) and A_TIME.are_in(rest) and not CALLING.are_in(question) else 0.0


def _weigh_negation(text: str, said: str, rest: str, question: str, *, is_offer: bool) -> float:
    if any(match[1] in question for match in _ECHOED_NO.finditer(rest)):
        return -1.0
    if NO_OFFER.are_in(question) or (IDENTITY.are_in(question) and not is_offer):
        return 0.0
    if _is_only(BARE_NO, said) or _BEGINS_WITH_NO.match(text):
        return -1.0 if CLOSED_QUESTION.are_in(question) else -0.5
    return 0.0


def _is_only(words: Words, text: str) -> bool:
    return bool(text.strip()) and not words.blank(text)[0].strip()
