"""Registers the fixtures, each file in `fixtures` is about one subject; no example fails on a slow machine."""

import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

pytest_plugins = [
    "tests.fixtures.browser",
    "tests.fixtures.cloud",
    "tests.fixtures.command",
    "tests.fixtures.kafka",
    "tests.fixtures.postgres",
    "tests.fixtures.shells",
    "tests.fixtures.streams",
    "tests.fixtures.topics",
]

settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def _signals_as_in_a_terminal() -> Iterator[None]:
    """A role takes the process's signals, and a shell's background ignores them; no test shall inherit either."""
    before_term = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    before_int = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGTERM, before_term)
    signal.signal(signal.SIGINT, before_int)
