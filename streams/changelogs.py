"""The stream applications and the changelogs of their tables: names, and how the topics are configured. Pure.

Changelog topics are made beforehand, with as many partitions as the source.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from schemas.topics import MAX_RECORD_BYTES

_CHANGELOG_CONFIG: Final = {
    "cleanup.policy": "compact",
    "segment.bytes": str(16 * 1_048_576),
    "segment.ms": "600000",
    "min.cleanable.dirty.ratio": "0.1",
    "max.message.bytes": str(MAX_RECORD_BYTES),
}


@dataclass(frozen=True, kw_only=True)
class Changelog:
    """A compacted topic that holds a table; it has as many partitions as the table's source."""

    app: str
    table: str
    config: Mapping[str, str] = field(default_factory=lambda: dict(_CHANGELOG_CONFIG))

    @property
    def name(self) -> str:
        """The name that Faust gives it."""
        return f"{self.app}-{self.table}-changelog"


CHANGES_APP: Final = "callstream-changes"
FOLLOW_UPS_APP: Final = "callstream-followups"
PAGES: Final = Changelog(app=CHANGES_APP, table="pages")
FOLLOW_UPS: Final = Changelog(app=FOLLOW_UPS_APP, table="followups")
CHANGELOGS: Final = (PAGES, FOLLOW_UPS)
