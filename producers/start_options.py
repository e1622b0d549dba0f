"""Whether what a start request asks for makes sense; a request that does not is answered, not dead-lettered. Pure."""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from schemas.tasks import StartRequested, WorkingHours

NUMBER: Final = re.compile(r"\+?[0-9][0-9-]{1,22}[0-9]")
TIME_OF_DAY: Final = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
MAX_ATTEMPTS: Final = 100
MAX_INTERVAL_MINUTES: Final = 1440

# Which field of the request the cloud speaks of, by the code with which it refuses the group.
FIELD_OF_CODE: Final = {"NotExist.Script": "script_id", "NotExist.CallingNumber": "calling_numbers"}


def problem_of(event: StartRequested) -> str | None:
    """Return a sentence that names the first field that makes no sense, None where all do. Quotes no number."""
    return next(_problems(event), None)


def field_of_refusal(code: str, *, has_script: bool) -> str | None:
    """Return which field of the request the cloud speaks of, where its code or what was not asked for tells."""
    return FIELD_OF_CODE.get(code) or ("script_id" if code.startswith("Missing") and not has_script else None)


def _problems(event: StartRequested) -> Iterator[str]:
    if event.script_id is not None and not event.script_id.strip():
        yield "script_id: it is empty"
    for place, number in enumerate(event.calling_numbers or (), 1):
        if not NUMBER.fullmatch(number):
            yield f"calling_numbers: entry {place} is no telephone number"
    yield from _problems_of_hours(event.working_hours or ())
    if event.max_attempts_per_day is not None and not 1 <= event.max_attempts_per_day <= MAX_ATTEMPTS:
        yield f"max_attempts_per_day: {event.max_attempts_per_day} is not between 1 and {MAX_ATTEMPTS}"
    interval = event.min_attempt_interval_minutes
    if interval is not None and not 1 <= interval <= MAX_INTERVAL_MINUTES:
        yield f"min_attempt_interval_minutes: {interval} is not between 1 and {MAX_INTERVAL_MINUTES}"


def _problems_of_hours(spans: Sequence[WorkingHours]) -> Iterator[str]:
    for place, span in enumerate(spans, 1):
        if not TIME_OF_DAY.fullmatch(span.begin) or not TIME_OF_DAY.fullmatch(span.end):
            yield f"working_hours: span {place} is no begin and end as HH:MM"
            return
        if span.begin >= span.end:
            yield f"working_hours: span {place} ends at {span.end}, before it begins at {span.begin}"
    ordered = sorted(spans, key=lambda span: span.begin)
    for earlier, later in pairwise(ordered):
        if later.begin < earlier.end:
            yield f"working_hours: the span from {later.begin} overlaps the one until {earlier.end}"
