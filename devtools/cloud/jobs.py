"""A job as the cloud holds it: who is to be called, its plan, and the orders that people gave it."""

import json
import random
import uuid
from dataclasses import dataclass, field
from functools import cached_property

from devtools.cloud.conversations import Turn, compose
from devtools.cloud.errors import ApiError, invalid
from devtools.cloud.plan import Plan
from devtools.cloud.timeline import Attempt, Orders, State, Timeline, state_at, unfold


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One element of JobsJson: exactly one contact, and extras that come back as they went."""

    phone: str
    name: str
    reference_id: str
    honorific: str
    extras: tuple[tuple[str, str], ...] = ()


@dataclass(kw_only=True)
class Job:
    """One contact to be called; only its orders ever change."""

    seed: int
    job_id: str
    group_id: str
    entry: Entry
    created_ms: int
    calling_numbers: tuple[str, ...]
    plan: Plan
    orders: Orders = field(default_factory=Orders)
    timeline: Timeline = field(init=False)

    def __post_init__(self) -> None:
        """Unfold the plan once; asking for a state is cheap afterwards."""
        self.obey(self.orders)

    def obey(self, orders: Orders) -> None:
        """Take new orders; what was to be seen before they were given stays."""
        self.orders = orders
        self.timeline = unfold(self.plan, self.created_ms, orders)

    def state(self, now_ms: int) -> State:
        """Return what the cloud shows at `now_ms`."""
        return state_at(self.timeline, now_ms)

    def task_id(self, number: int) -> str:
        """Return the id of the call `number`, which is known only once that call began."""
        return seeded_uuid(f"{self.job_id}/task/{number}")

    def call_id(self, number: int) -> str:
        """Return the telephone system's id of the call, which is not the task id."""
        return str(15_000_000_000_000 + random.Random(f"{self.job_id}/call/{number}").randrange(10**12))

    def calling_number(self, number: int) -> str:
        """Return the number that the call `number` came from."""
        return random.Random(f"{self.job_id}/from/{number}").choice(self.calling_numbers)

    def turns(self, attempt: Attempt, now_ms: int) -> tuple[Turn, ...]:
        """Return what was said in an answered call until `now_ms`."""
        if not self.plan.steps[attempt.number].connected:
            return ()
        said_until = min(now_ms, attempt.ended_ms) - attempt.started_ms
        return tuple(turn for turn in self._conversation if turn.offset_ms <= said_until)

    @cached_property
    def _conversation(self) -> tuple[Turn, ...]:
        last = self.plan.steps[-1]
        return compose(
            self.seed,
            self.entry.reference_id,
            name=self.entry.honorific or self.entry.name,
            intent=self.plan.intent,
            seconds=last.seconds,
            short=self.plan.status != "Succeeded",
        )


def seeded_uuid(text: str) -> str:
    """Return a UUID that is always the same for the same text."""
    return str(uuid.UUID(int=random.Random(text).getrandbits(128), version=4))


def parse_entry(text: str) -> Entry:
    """Read one element of JobsJson; ApiError for everything that the cloud does not take."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise invalid("JobsJson", "an element is no JSON") from error
    contacts = value.get("contacts") if isinstance(value, dict) else None
    if not isinstance(contacts, list) or len(contacts) != 1 or not isinstance(contacts[0], dict):
        raise invalid("JobsJson", "an element needs exactly one contact")
    contact: dict[str, object] = contacts[0]
    return Entry(
        phone=_text(contact, "phoneNumber"),
        name=_text(contact, "name"),
        reference_id=_text(contact, "referenceId"),
        honorific=_text(contact, "honorific") if contact.get("honorific") else "",
        extras=_parse_extras(value.get("extras")),
    )


def _text(contact: dict[str, object], key: str) -> str:
    value = contact.get(key)
    if not isinstance(value, str) or not value:
        raise invalid("JobsJson", f"{key} of a contact must be text")
    return value


def _parse_extras(value: object) -> tuple[tuple[str, str], ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise invalid("JobsJson", "extras must be a list")
    return tuple(_parse_extra(extra) for extra in value)


def _parse_extra(extra: object) -> tuple[str, str]:
    refusal: ApiError = invalid("JobsJson", "an extra is {key, value} of text")
    if not isinstance(extra, dict):
        raise refusal
    key, value = extra.get("key"), extra.get("value")
    if not isinstance(key, str) or not isinstance(value, str):
        raise refusal
    return key, value
