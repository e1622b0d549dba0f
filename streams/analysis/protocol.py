"""What an analyzer is asked, and what it answers."""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from schemas.followups import Interest
from schemas.jobs import Turn

CONTACT: Final = "Contact"

UNAVAILABLE, UNUSABLE, REFUSED = "unavailable/", "unusable/", "refused/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether the contact is interested (0 cannot tell, 1 yes, 2 no), a short sentence for the record, and why.

    `analyzer` is `rules`, the model with the prompt's version, or why there is no answer: `unavailable/`, `unusable/`
    or `refused/` before the model's name. No text quotes names and numbers: they stay where they are.
    """

    is_interested: Interest
    summary: str
    reason: str
    analyzer: str


class Analyzer(Protocol):
    """Reads conversations; safe to be asked for many at once."""

    def analyze(self, conversation: Sequence[Turn]) -> Verdict | Awaitable[Verdict]:
        """Return what the conversation meant, or, where somebody must be asked, what will become it.

        The latter waits where the answer may come later, as long as that makes sense; then, and where no answer will
        ever come, the verdict says so. Raises nothing.
        """
        ...


def is_answer(analyzer: str) -> bool:
    """Return whether a record was made by reading the conversation."""
    return not analyzer.startswith((UNAVAILABLE, UNUSABLE, REFUSED))


def is_owed(analyzer: str) -> bool:
    """Return whether another try may lead to an answer."""
    return analyzer.startswith((UNAVAILABLE, UNUSABLE))
