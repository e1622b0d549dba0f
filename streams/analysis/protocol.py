"""What an analyzer is asked, and what it answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from schemas.followups import Interest
from schemas.jobs import Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether the contact is interested (0 cannot tell, 1 yes, 2 no), a short sentence for the record, and why.

    Neither text quotes the conversation: names and numbers stay where they are.
    """

    is_interested: Interest
    summary: str
    reason: str


class Analyzer(Protocol):
    """Reads conversations; safe to be asked for many at once."""

    @property
    def name(self) -> str:
        """`rules`, or the model's name with the prompt's version."""
        ...

    async def analyze(self, conversation: Sequence[Turn]) -> Verdict:
        """Return what the conversation meant; raises RetryableError where the answer may come later."""
        ...
