"""Points in time as they travel: aware datetimes in memory, RFC 3339 UTC with milliseconds on the wire.

Milliseconds are the grain of the cloud's own clock, of versions and of the wire, so a value survives any round trip.
"""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from msgspec import Meta

Instant = Annotated[datetime, Meta(tz=True)]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def from_milliseconds(milliseconds: int) -> datetime:
    """Return the instant `milliseconds` after the epoch; raises OverflowError beyond the year 9999."""
    return EPOCH + timedelta(milliseconds=milliseconds)


def to_milliseconds(instant: datetime) -> int:
    """Return whole milliseconds since the epoch; raises TypeError for a naive datetime."""
    return (instant - EPOCH) // _MILLISECOND


def in_utc(instant: datetime | None) -> datetime | None:
    """Return the same instant without another offset, which databases take only up to 16 hours."""
    return instant if instant is None or instant.tzinfo is UTC else instant.astimezone(UTC)


def format_instant(instant: datetime) -> str:
    """Return e.g. `2026-11-23T08:00:00.000Z`; any offset is converted to UTC first."""
    if instant.tzinfo is not UTC:
        instant = instant.astimezone(UTC)
    return instant.isoformat(timespec="milliseconds")[:-6] + "Z"
