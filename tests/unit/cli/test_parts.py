"""What commands share: Ctrl-C while the Kafka client is at work."""

import signal

import pytest

from cli.parts import interrupts_held_back


def interrupt(times: int, happened: list[str]) -> None:
    """Press Ctrl-C while the client is at work."""
    with interrupts_held_back():
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)
        happened.append("the block was left")


@pytest.mark.parametrize(("times", "happened"), [(1, ["the block was left"]), (2, [])])
def test_an_interrupt_waits_until_the_block_is_left_and_a_second_one_does_not(times: int, happened: list[str]) -> None:
    """A broker that is away would hold them back for half a minute; afterwards Python's own handler is there again."""
    seen: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        interrupt(times, seen)
    assert seen == happened
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_who_ignores_interrupts_goes_on_doing_so() -> None:
    """As a command in the background of a shell script."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupts_held_back():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
