"""The tables: how rows are read and written.

A row counts as written when the broker has acknowledged its changelog record; Faust by itself only logs a refusal and
goes on to commit. So rows go the way of the events, by the same producer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol, cast

import faust
from faust.types import EventT

from runtime.kafka import Outgoing
from schemas.topics import MAX_RECORD_BYTES
from streams.changelogs import Changelog
from streams.outbox import Sender

MAX_ROW_BYTES: Final = MAX_RECORD_BYTES - 65_536


@dataclass(frozen=True, slots=True)
class Write:
    """A row to be written, or deleted where `value` is None; the partition is that of the message that changed it."""

    partition: int
    key: bytes
    value: bytes | None


class RowStore(Protocol):
    """What agents need of a table."""

    def get(self, key: bytes) -> bytes | None:
        """Return the row under `key`."""
        ...

    def hold(self, *writes: Write) -> None:
        """Have `get` return the rows from now on; they survive this process when `keep` has returned."""
        ...

    async def keep(self, writes: Sequence[Write]) -> None:
        """Return when every row is kept, or gone, for good."""
        ...


class Rows:
    """A table of bytes by key, kept only with the broker's word for it; knows the partition of each row.

    What is held and cannot be kept is wrong to go on from: whoever cannot keep a row has to end the process.
    """

    def __init__(self, app: faust.App, changelog: Changelog, partitions: int, sender: Sender) -> None:
        self._app = app
        self._sender = sender
        self._table = app.Table(
            changelog.table,
            key_type=bytes,
            value_type=bytes,
            partitions=partitions,
            on_changelog_event=self._on_recovered,
        )
        self._topic = self._table.changelog_topic.get_topic_name()
        self._partitions: dict[bytes, int] = {}

    def get(self, key: bytes) -> bytes | None:
        """Return the row under `key`."""
        value: bytes | None = self._table.data.get(key)
        return value

    def hold(self, *writes: Write) -> None:
        """Have `get` return the rows from now on."""
        for write in writes:
            if write.value is None:
                self._forget(write.key)
            else:
                self._table.data[write.key] = write.value
                self._partitions[write.key] = write.partition

    async def keep(self, writes: Sequence[Write]) -> None:
        """Return when every row is in the changelog; raises what the sender does."""
        await self._sender.emit(
            [Outgoing(self._topic, write.key, write.value, partition=write.partition) for write in writes]
        )

    def owned(self) -> dict[bytes, int]:
        """Return the partition of each row that is this process's to write; rows that went elsewhere are let go."""
        mine = {place.partition for place in self._app.assignor.assigned_actives() if place.topic == self._topic}
        for key in [key for key, partition in self._partitions.items() if partition not in mine]:
            self._forget(key)
        return self._partitions.copy()

    def _forget(self, key: bytes) -> None:
        self._table.data.pop(key, None)
        self._partitions.pop(key, None)

    async def _on_recovered(self, event: EventT[bytes]) -> None:
        """Learn whose row it is; Faust calls this for every changelog record that it reads."""
        key, message = cast(bytes, event.key), event.message
        if message.value is None:
            self._partitions.pop(key, None)
        else:
            self._partitions[key] = message.partition
