"""Registers the fixtures; each file in `fixtures` is about one subject."""

pytest_plugins = ["tests.fixtures.cloud", "tests.fixtures.kafka", "tests.fixtures.postgres", "tests.fixtures.topics"]
