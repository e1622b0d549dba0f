"""Alternatives that are looked for in what was said, compiled so that most places of a text are passed over at once.

A pattern is a list of alternatives without nested repetition, so reading a text takes time in proportion to it.
Alternatives are grouped by the character that they begin with: the machine of `re` then skips every place where none of
these stands, which is most of them.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

_NOTHING: Final = r"(?!)"
_MARKS: Final = frozenset("\\^$.|?*+()[]{}")


class Words:
    """Alternatives of which any may be found in a text; the text is in lower case."""

    def __init__(self, *alternatives: str) -> None:
        self.alternatives = alternatives
        self._pattern = _compile(alternatives)

    def are_in(self, text: str) -> bool:
        """Return whether any is found."""
        return self._pattern.search(text) is not None

    def blank(self, text: str) -> tuple[str, int]:
        """Return the text with all that is found blanked out, letter by letter, and where the last one ends; -1: none.

        `不感兴趣` must not be read as `感兴趣` once more.
        """
        if self._pattern.search(text) is None:
            return text, -1
        last = max(match.end() for match in self._pattern.finditer(text))
        return self._pattern.sub(_cover, text), last


@dataclass(frozen=True, slots=True)
class Sign:
    """What is looked for and how much it says; 1 decides by itself."""

    words: Words
    weight: float


class Signs:
    """Signs of one kind, the strongest first."""

    def __init__(self, *signs: Sign) -> None:
        self._signs = signs
        self._any = Words(*(alternative for sign in signs for alternative in sign.words.alternatives))

    def take(self, text: str) -> tuple[float, int, str]:
        """Return the strongest sign's weight, where the last one ends, -1 for none, and the text without any."""
        strongest, last = 0.0, -1
        if not self._any.are_in(text):
            return strongest, last, text
        for sign in self._signs:
            text, end = sign.words.blank(text)
            if end >= 0:
                strongest, last = max(strongest, sign.weight), max(last, end)
        return strongest, last, text


def _cover(match: re.Match[str]) -> str:
    return " " * len(match[0])


def _compile(alternatives: Sequence[str]) -> re.Pattern[str]:
    """Return a pattern of alternatives, each itself a list of them, grouped by their first characters.

    The order of those that begin alike stays; of others no two match at one place. Raises ValueError for one that does
    not begin with a character, a choice of them, or what must not stand before it.
    """
    groups = defaultdict[str, list[str]](list)
    for alternative in alternatives:
        for spread in _spread(alternative):
            if not spread or spread[0] in _MARKS or spread[1:2] in {"*", "+", "{"}:
                raise ValueError(f"begins with no character: {spread}")
            groups[spread[0]].append(spread[1:])
    grouped = [f"{first}(?:{'|'.join(dict.fromkeys(rests))})" for first, rests in groups.items()]
    return re.compile("|".join(grouped) or _NOTHING)


def _spread(pattern: str) -> Iterator[str]:
    """Return patterns that together find the same, each with a plain character first where that can be had."""
    alternatives = _split(pattern)
    if len(alternatives) > 1:
        firsts, rest = alternatives, ""
    elif pattern.startswith("[") and not pattern.startswith("[^"):
        end = pattern.index("]")
        firsts, rest = list(pattern[1:end].replace(r"\d", "0123456789")), pattern[end + 1 :]
    elif pattern.startswith("(?:"):
        end = _closing(pattern)
        firsts, rest = _split(pattern[3:end]), pattern[end + 1 :]
    elif pattern.startswith("(?<!"):
        end = pattern.index(")")
        for spread in _spread(pattern[end + 1 :]):
            yield f"{spread[0]}(?<!{pattern[4:end]}{spread[0]}){spread[1:]}"
        return
    elif pattern.startswith(r"\b"):
        yield from _spread(r"(?<!\w)" + pattern[2:])
        return
    elif pattern[1:2] == "?" and pattern[0] not in _MARKS:
        firsts, rest = [pattern[0]], pattern[1:]
    else:
        yield pattern
        return
    if rest.startswith("?"):
        firsts, rest = [*firsts, ""], rest[1:]
    for first in firsts:
        yield from _spread(first + rest)


def _split(pattern: str) -> list[str]:
    """Return the alternatives of a pattern's outermost level."""
    parts, depth = [""], 0
    for letter in pattern:
        depth += (letter in "([") - (letter in ")]")
        if letter == "|" and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _closing(pattern: str) -> int:
    """Return where the group that a pattern begins with ends."""
    depth = 0
    for place, letter in enumerate(pattern):
        depth += (letter == "(") - (letter == ")")
        if not depth:
            return place
    raise ValueError(f"no end of the group: {pattern}")
