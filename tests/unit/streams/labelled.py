"""Labelled conversations: those that rules are adjusted on, those that say how it goes, and those that judge them."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from schemas.jobs import Turn

Part = Literal["tuning", "validation", "held_out"]

_FOLDER: Final = Path(__file__).parent / "data"


@dataclass(frozen=True, slots=True)
class Labelled:
    """A conversation and what a person said of it."""

    category: str
    is_interested: int
    turns: tuple[Turn, ...]


def labelled(part: Part) -> Sequence[Labelled]:
    """Return the conversations of a part."""
    documents = map(json.loads, (_FOLDER / f"{part}.jsonl").read_text(encoding="utf-8").splitlines())
    return [
        Labelled(each["category"], each["is_interested"], tuple(Turn(**turn) for turn in each["turns"]))
        for each in documents
    ]


@dataclass(frozen=True, slots=True)
class Scores:
    """How verdicts agree with labels; precision and recall by class (0 cannot tell, 1 yes, 2 no).

    `opposite` counts a yes taken for a no, or a no for a yes.
    """

    agreement: float
    opposite: int
    precision: Mapping[int, float]
    recall: Mapping[int, float]

    def as_dict(self) -> dict[str, object]:
        """Return what is recorded, rounded."""
        return {
            "agreement": round(self.agreement, 3),
            "opposite": self.opposite,
            "precision": {name: round(value, 3) for name, value in self.precision.items()},
            "recall": {name: round(value, 3) for name, value in self.recall.items()},
        }


def scores(examples: Sequence[Labelled], found: Sequence[int]) -> Scores:
    """Compare verdicts with labels; a class that nobody found has precision 1, nothing of it being wrong."""
    pairs = Counter(zip((each.is_interested for each in examples), found, strict=True))
    said, labels = Counter(found), Counter(each.is_interested for each in examples)
    return Scores(
        agreement=sum(pairs[each, each] for each in range(3)) / len(examples),
        opposite=pairs[1, 2] + pairs[2, 1],
        precision={each: pairs[each, each] / said[each] if said[each] else 1.0 for each in range(3)},
        recall={each: pairs[each, each] / labels[each] for each in range(3)},
    )
