"""The tables and their changelogs: names, how a changelog is configured, and how rows are written.

A row counts as written when the broker has acknowledged its changelog record; Faust by itself only logs a refusal and
goes on to commit. Changelog topics are made beforehand, with as many partitions as the source.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import faust

from schemas.topics import MAX_RECORD_BYTES

MAX_ROW_BYTES: Final = MAX_RECORD_BYTES - 65_536

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


@dataclass(frozen=True, slots=True)
class Write:
    """A row to be written; the partition is that of the message that changed it."""

    partition: int
    key: bytes
    value: bytes


class RowStore(Protocol):
    """What agents need of a table."""

    def get(self, key: bytes) -> bytes | None:
        """Return the row under `key`."""
        ...

    def note(self, key: bytes, value: bytes) -> None:
        """Hold a row that need not survive this process."""
        ...

    async def write(self, writes: Sequence[Write]) -> None:
        """Return when every row is kept for good."""
        ...


class Rows:
    """A table of bytes by key, written only with the broker's word for it."""

    def __init__(self, app: faust.App, changelog: Changelog, partitions: int) -> None:
        self._table = app.Table(changelog.table, key_type=bytes, value_type=bytes, partitions=partitions)

    def get(self, key: bytes) -> bytes | None:
        """Return the row under `key`."""
        value: bytes | None = self._table.data.get(key)
        return value

    def note(self, key: bytes, value: bytes) -> None:
        """Hold a row that need not survive this process."""
        self._table.data[key] = value

    async def write(self, writes: Sequence[Write]) -> None:
        """Return when every row is in the changelog; raises whatever its producer does, and then no row is held."""
        futures = [self._table.send_changelog(write.partition, write.key, write.value) for write in writes]
        await asyncio.gather(*futures)
        for write in writes:
            self.note(write.key, write.value)
