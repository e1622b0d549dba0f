"""Failures that a test switches on: which call, what goes wrong, and how often."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, cast, get_args

FaultKind = Literal[
    "throttle",
    "throttle-retry-after",
    "unavailable",
    "success-false",
    "other-shape",
    "drop-before",
    "drop-after",
    "hang-before",
    "hang-after",
    "late",
    "late-drop",
    "half",
]
KINDS: tuple[FaultKind, ...] = get_args(FaultKind)


class BadRuleError(ValueError):
    """A rule that the simulator cannot follow."""


@dataclass(kw_only=True)
class Rule:
    """Let `skip` matching calls pass, then spoil `times`; `action` "*" matches every one."""

    action: str
    kind: FaultKind
    times: int = 1
    skip: int = 0
    seconds: float = 1.0

    def takes(self, action: str) -> bool:
        """Count a call down and say whether it is to be spoilt."""
        if self.action not in {"*", action} or self.times == 0:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.times -= 1
        return True


class Faults:
    """The rules in the order in which they were added; the first that takes a call spoils it."""

    def __init__(self) -> None:
        self._rules: list[Rule] = []

    def add(self, rule: Rule) -> None:
        """Add a rule behind the others."""
        self._rules.append(rule)

    def clear(self) -> None:
        """Forget every rule; what hangs already goes on hanging."""
        self._rules.clear()

    def take(self, action: str) -> Rule | None:
        """Return the rule for this call, and use it up once."""
        return next((rule for rule in self._rules if rule.takes(action)), None)


def parse_rule(fields: object, actions: Iterable[str]) -> Rule:
    """Read a rule from JSON; BadRuleError says what is wrong, an action unknown to the cloud included."""
    if not isinstance(fields, dict):
        raise BadRuleError("a rule is an object")
    unknown = fields.keys() - {"action", "kind", "times", "skip", "seconds"}
    if unknown:
        raise BadRuleError(f"unknown fields: {sorted(unknown)}")
    action, kind = fields.get("action"), fields.get("kind")
    if action != "*" and action not in set(actions):
        raise BadRuleError(f"unknown action: {action}")
    if kind not in KINDS:
        raise BadRuleError(f"unknown kind: {kind}")
    times, skip, seconds = fields.get("times", 1), fields.get("skip", 0), fields.get("seconds", 1.0)
    if not isinstance(times, int) or not isinstance(skip, int) or not isinstance(seconds, int | float):
        raise BadRuleError("times and skip are whole numbers, seconds is a number")
    if times < 0 or skip < 0 or seconds < 0:
        raise BadRuleError("times, skip and seconds are not below 0")
    return Rule(action=str(action), kind=cast(FaultKind, kind), times=times, skip=skip, seconds=float(seconds))
