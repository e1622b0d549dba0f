"""The supervisor's decisions: ports and pauses."""

from cli.supervisor import LONGEST_PAUSE, Plan, pause_after, plan


def test_each_role_has_its_port_in_the_order_named() -> None:
    """A role's further processes do not shift the ports of the roles after it."""
    assert plan(["poll", "stream", "sink"], 8000) == [
        Plan("poll", 8000),
        Plan("changes", 8001),
        Plan("sink", 8002),
        Plan("followups", 8003),
    ]


def test_pauses_double_up_to_a_bound_and_start_over_after_a_healthy_life() -> None:
    """A process that ends at once is not started a thousand times; one that worked is back at once."""
    pauses = [0.5]
    for _ in range(8):
        pauses.append(pause_after(0.1, pauses[-1]))
    assert pauses[:4] == [0.5, 1.0, 2.0, 4.0]
    assert pauses[-1] == LONGEST_PAUSE
    assert pause_after(60, LONGEST_PAUSE) == 0.5
