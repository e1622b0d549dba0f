"""Registers the fixtures, each file in `fixtures` is about one subject; no example fails on a slow machine."""

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
