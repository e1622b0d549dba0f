"""What robot and person say to each other, drawn from an intent so that a later analysis can be compared with it.

Texts hold what breaks careless code: two languages, quotes, emoji, and rarely a NUL or half of a surrogate pair.
"""

import random
from dataclasses import dataclass
from typing import Literal

from devtools.cloud.plan import INTERESTED, NOT_INTERESTED, UNKNOWN, Intent

Speaker = Literal["Robot", "Contact"]
Language = Literal["zh", "en"]

NUL = "\x00"
LONE_SURROGATE = "\ud800"

GREETINGS: dict[Language, tuple[str, ...]] = {
    "zh": ("{name}您好，我是智能客服小云，请问您现在方便吗？", "您好，请问是{name}吗？这里是“云上课堂”的客服。"),
    "en": (
        "Hello {name}, this is Xiaoyun from the service team. Is now a good time?",
        'Hi, am I speaking to "{name}"?',
    ),
}
PITCHES: dict[Language, tuple[str, ...]] = {
    "zh": ("我们新开了一个项目，首月免费😊，想给您介绍一下。", "这次的优惠到月底为止，您想了解一下吗？"),
    "en": (
        "We've just opened a new course; the first month is free 🎉.",
        "The offer ends this month. May I tell you more?",
    ),
}
REPLIES: dict[Language, dict[Intent, tuple[str, ...]]] = {
    "zh": {
        INTERESTED: ("好的，我很感兴趣，请把资料发给我。", "可以啊，加我微信吧👍", "有兴趣，怎么报名？"),
        NOT_INTERESTED: ("不需要，谢谢。", "没有兴趣，请不要再打了😡", "不考虑，别再打来了。"),
        UNKNOWN: ("我在开会。", "嗯……你说什么？", "喂？听不清楚。"),
    },
    "en": {
        INTERESTED: ("Yes, I'm interested, please send me the details.", "Sounds great 👍 how do I sign up?"),
        NOT_INTERESTED: ("I'm not interested, thanks.", "No thanks, please don't call again 😡"),
        UNKNOWN: ("Sorry, I'm in a meeting.", 'Who is this? "Cloud" what?', "I can't hear you well."),
    },
}
FAREWELLS: dict[Language, dict[Intent, str]] = {
    "zh": {INTERESTED: "好的，稍后给您发送。再见！", NOT_INTERESTED: "打扰了，再见。", UNKNOWN: "那我改天再联系您。"},
    "en": {INTERESTED: "Thank you! Goodbye.", NOT_INTERESTED: "Sorry to bother you.", UNKNOWN: "I'll try another day."},
}


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One utterance, `offset_ms` after the call began."""

    offset_ms: int
    speaker: Speaker
    script: str


def compose(seed: int, reference_id: str, *, name: str, intent: Intent, seconds: int, short: bool) -> tuple[Turn, ...]:
    """Return the conversation of an answered call; offsets rise and stay inside the call's `seconds`.

    A short one breaks off after a greeting and a word that shows no intent.
    """
    rng = random.Random(f"{seed}/conversation/{reference_id}")
    language: Language = rng.choice(("zh", "zh", "en"))
    lines = _short_lines(rng, language, name) if short else _lines(rng, language, name, intent)
    _spoil(rng, lines)
    step = (seconds * 1000 - 100) // len(lines)
    return tuple(
        Turn(offset_ms=50 + index * step, speaker=speaker, script=script)
        for index, (speaker, script) in enumerate(lines)
    )


def _short_lines(rng: random.Random, language: Language, name: str) -> list[tuple[Speaker, str]]:
    greeting = rng.choice(GREETINGS[language]).replace("{name}", name)
    return [("Robot", greeting), ("Contact", "喂？" if language == "zh" else "Hello?")]


def _lines(rng: random.Random, language: Language, name: str, intent: Intent) -> list[tuple[Speaker, str]]:
    lines = _short_lines(rng, language, name)
    pitches = rng.sample(PITCHES[language], rng.randint(1, 2))
    for index, pitch in enumerate(pitches):
        last = index == len(pitches) - 1
        reply = rng.choice(REPLIES[language][intent if last else UNKNOWN])
        lines += [("Robot", pitch), ("Contact", reply)]
    lines.append(("Robot", FAREWELLS[language][intent]))
    return lines


def _spoil(rng: random.Random, lines: list[tuple[Speaker, str]]) -> None:
    """Put a character that databases and codecs refuse into one conversation of twenty."""
    if rng.random() < 0.05:
        index = rng.randrange(len(lines))
        speaker, script = lines[index]
        lines[index] = (speaker, script + rng.choice((NUL, LONE_SURROGATE)))
