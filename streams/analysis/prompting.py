"""What a model is told, and what of its answer is believed. Pure.

The callee's words travel as strings of one JSON document, angle brackets escaped, so that no word can end its string,
its turn or, where a server takes marks like `<|im_end|>` for control, its message. What comes back is held against the
schema and cleaned; whether the model let itself be talked into something, nobody can see from outside.
"""

import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from runtime.errors import CallstreamError
from schemas.followups import Interest
from schemas.jobs import Turn
from streams.analysis.masking import mask, mask_all
from streams.analysis.protocol import CONTACT

MOST_TURN_CHARACTERS: Final = 1_000
MOST_CHARACTERS: Final = 8_000
FRAME_CHARACTERS: Final = 40
MOST_SUMMARY_CHARACTERS: Final = 400
CUT: Final = " [...] "

SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {
        "reason": {"type": "string"},
        "summary": {"type": "string"},
        "is_interested": {"type": "integer", "enum": [0, 1, 2]},
    },
    "required": ["reason", "summary", "is_interested"],
    "additionalProperties": False,
}

_UNSHOWN: Final = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


class UnusableError(CallstreamError):
    """The model answered, but not as the schema has it."""


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model's answer, as the schema has it."""

    reason: str
    summary: Annotated[str, Meta(min_length=1)]
    is_interested: Interest


_answers: Final = msgspec.json.Decoder(Answer)


def prompt() -> tuple[str, str]:
    """Return the version of the prompt, and the prompt."""
    head, _, text = resources.files("streams.analysis").joinpath("prompt.md").read_text("utf-8").partition("\n")
    return head.removeprefix("version: "), text.strip()


def document_of(conversation: Sequence[Turn]) -> str:
    """Return a conversation as the model is shown it: masked, cut in the middle where it is long, as JSON."""
    speakers = ["contact" if turn.speaker == CONTACT else "robot" for turn in conversation]
    masked = {
        speaker: iter(mask_all([turn.script for turn, by in zip(conversation, speakers, strict=True) if by == speaker]))
        for speaker in set(speakers)
    }
    turns = [{"speaker": speaker, "text": _cut(next(masked[speaker]))} for speaker in speakers]
    text = json.dumps({"conversation": _shorten(turns)}, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e")


def read_answer(content: str) -> Answer:
    """Return what a model answered, its texts masked and made fit for a record; raises UnusableError."""
    try:
        answer = _answers.decode(content)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise UnusableError(f"the answer is not of the schema: {type(error).__name__}") from None
    summary = _clean(answer.summary)
    if not summary:
        raise UnusableError("the answer has no summary")
    return Answer(reason=_clean(answer.reason), summary=summary, is_interested=answer.is_interested)


def _clean(text: str) -> str:
    text = mask(_UNSHOWN.sub(" ", text).strip())
    return text if len(text) <= MOST_SUMMARY_CHARACTERS else text[: MOST_SUMMARY_CHARACTERS - 1] + "…"


def _cut(text: str) -> str:
    if len(text) <= MOST_TURN_CHARACTERS:
        return text
    half = (MOST_TURN_CHARACTERS - len(CUT)) // 2
    return text[:half] + CUT + text[-half:]


def _shorten(turns: list[dict[str, str]]) -> list[dict[str, str]]:
    """Leave out turns in the middle until the rest fits: a third from the beginning, the end where it is decided."""
    if _fitting(turns, MOST_CHARACTERS) == len(turns):
        return turns
    head = _fitting(turns, MOST_CHARACTERS // 3)
    tail = _fitting(turns[::-1], MOST_CHARACTERS * 2 // 3)
    left_out = len(turns) - head - tail
    return [*turns[:head], {"speaker": "robot", "text": f"[{left_out} turns left out]"}, *turns[len(turns) - tail :]]


def _fitting(turns: Sequence[Mapping[str, str]], room: int) -> int:
    """Return how many turns from the first on fit; a short one takes as much room as its frame."""
    for count, turn in enumerate(turns):
        room -= max(len(turn["text"]), FRAME_CHARACTERS)
        if room < 0:
            return count
    return len(turns)
