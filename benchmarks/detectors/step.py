"""What the contenders that read pages share: our decision about a page, and the records that follow from it."""

from dataclasses import replace
from functools import cache

from runtime.kafka import Outgoing, outgoing
from schemas.jobs import StatusChanged
from schemas.topics import STATUS_CHANGED, Topic
from streams import pages
from streams.changes import ChangePolicy, PageRow

POLICY = ChangePolicy()


def observe(row: PageRow, value: bytes, prefix: str) -> tuple[bool, list[Outgoing]]:
    """Bring a page's row up to date; return whether it must be kept, and the events to be sent."""
    detection = pages.observe(row, pages.open_page(value), POLICY)
    return detection.must_write, [outgoing(_events(prefix), event, source="bench") for event in detection.events]


@cache
def _events(prefix: str) -> Topic[StatusChanged]:
    return replace(STATUS_CHANGED, name=prefix + STATUS_CHANGED.name)
