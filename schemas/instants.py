"""Points in time as they travel: aware datetimes in memory, RFC 3339 UTC with milliseconds on the wire.

Milliseconds are the grain of the cloud's own clock, of versions and of the wire, so a value survives any round trip.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated

import msgspec
from msgspec import Meta

Instant = Annotated[datetime, Meta(tz=True)]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_WITH_MICROSECONDS = len("2026-11-23T08:00:00.000000Z")
_LENGTHS_IN_UTC = {len("2026-11-23T08:00:00Z"), _WITH_MICROSECONDS}


@lru_cache(maxsize=1024)
def from_milliseconds(milliseconds: int) -> datetime:
    """Return the instant `milliseconds` after the epoch; raises OverflowError beyond the year 9999.

    The last ones are remembered: all events of a page have one.
    """
    return EPOCH + timedelta(milliseconds=milliseconds)


def to_milliseconds(instant: datetime) -> int:
    """Return whole milliseconds since the epoch; raises TypeError for a naive datetime."""
    return (instant - EPOCH) // _MILLISECOND


def in_utc(instant: datetime | None) -> datetime | None:
    """Return the same instant without another offset, which databases take only up to 16 hours."""
    return instant if instant is None or instant.tzinfo is UTC else instant.astimezone(UTC)


def format_instant(instant: datetime) -> str:
    """Return e.g. `2026-11-23T08:00:00.000Z`; any offset is converted to UTC first."""
    document: dict[str, str] = {"at": msgspec.to_builtins(instant)}  # a tenth of isoformat's time
    write_instants(document, ("at",))
    return document["at"]


def write_instants(document: dict[str, str], names: Iterable[str]) -> None:
    """Put texts of that form in place of msgspec's, which have microseconds or none, and any offset."""
    for name in names:
        text = document.get(name)
        if text is None:
            continue
        if len(text) not in _LENGTHS_IN_UTC:
            text = msgspec.to_builtins(datetime.fromisoformat(text).astimezone(UTC))
        document[name] = text[:23] + "Z" if len(text) == _WITH_MICROSECONDS else text[:19] + ".000Z"
