"""Fault rules count down as they say, and nonsense is refused before it could silently do nothing."""

import pytest

from devtools.cloud.faults import BadRuleError, Faults, Rule, parse_rule


def test_skip_then_times() -> None:
    """A rule lets `skip` calls of its action pass, spoils `times`, and is used up."""
    faults = Faults()
    faults.add(Rule(action="ListJobs", kind="throttle", times=2, skip=1))
    arrived = ("ListJobs", "AssignJobs", "ListJobs", "ListJobs", "ListJobs")
    taken = [faults.take(action) is not None for action in arrived]
    assert taken == [False, False, True, True, False]


def test_a_star_takes_every_action() -> None:
    """The action "*" matches any call, until the rules are cleared."""
    faults = Faults()
    faults.add(Rule(action="*", kind="unavailable", times=5))
    assert faults.take("DescribeJob") is not None
    faults.clear()
    assert faults.take("DescribeJob") is None


@pytest.mark.parametrize(
    "fields",
    [
        [],
        {"action": "NoSuch", "kind": "late"},
        {"action": "*", "kind": "none"},
        {"action": "*", "kind": "late", "time": 2},
        {"action": "*", "kind": "late", "times": -1},
        {"action": "*", "kind": "late", "seconds": "1"},
    ],
)
def test_nonsense_is_refused(fields: object) -> None:
    """A rule that could never work is an error."""
    with pytest.raises(BadRuleError):
        parse_rule(fields, ["ListJobs"])
