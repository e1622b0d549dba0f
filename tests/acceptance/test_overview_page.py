"""The monitor's page as people see it: live, on a phone, and without a word of who was called."""

import os
import re
import socket
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from cli.groups import GROUPS
from devtools.cloud.process import CloudSimulator
from devtools.performance import Performance
from devtools.processes import free_port, wait_until
from devtools.stage import Stage
from runtime.clock import SystemClock
from sinks.migrate import migrate

ROLES = ("monitor", "poll", "start", "stream", "sink")
# Where a picture of the page is written, for the README.
PICTURE = os.environ.get("CALLSTREAM_TEST_PICTURE")


def listens(port: int) -> bool:
    """Whether somebody takes connections on that port of this machine."""
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.timeout(300)
def test_the_page_shows_the_work_while_it_goes_on(whole_topics: str, browser: Browser) -> None:
    """Tasks, funnel, groups and dead letters; it moves by itself; without a database it says so."""
    cloud = CloudSimulator(spread_seconds=4)
    settings = {"CALLSTREAM_HTTP_PORT": str(free_port()), "CALLSTREAM_RECORDINGS_ENABLED": "true"}
    with Stage(kafka=whole_topics, cloud=cloud, settings=settings) as stage:
        migrate(stage.dsn)
        groups = {group: topics for group, topics in GROUPS.items() if group != "callstream-record"}
        performance = Performance(stage, lead_count=60, task_count=2, seed=11, groups=groups)
        people = [text for lead in performance.leads for text in (lead.leads_name, lead.leads_phone)]
        page = browser.new_page(viewport={"width": 390, "height": 844})
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        try:
            with stage.run(ROLES, os.environ) as roles:
                port = int(roles.environment["CALLSTREAM_HTTP_PORT"])
                wait_until(lambda: listens(port), seconds=60, what="the page's port")
                page.goto(f"http://127.0.0.1:{port}/", wait_until="commit")
                performance.begin()
                for _ in performance.watch(clock=SystemClock(), seconds=90):
                    pass
                expect(page.locator("#funnel")).to_contain_text(
                    re.compile(r"created\s*60\s*assigned\s*60"), timeout=15_000
                )
                for role in ("poll", "start", "changes", "followups", "sink"):
                    expect(page.locator("#roles tbody tr", has_text=role)).to_contain_text("Stable, 1 member")
                expect(page.locator("#roles tbody tr", has_text="record")).to_contain_text("nobody")
                expect(page.locator("#letters")).to_contain_text("None")
                assert page.locator("#tasks tbody tr").count() == 2
                assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
                shown = page.content()
                assert [text for text in people if text in shown] == []
                if PICTURE:
                    page.set_viewport_size({"width": 980, "height": 900})
                    page.screenshot(path=Path(PICTURE), full_page=True)
                assert stage.postgres is not None
                stage.postgres.stop()
                expect(page.locator("#state.bad")).to_contain_text("database", timeout=20_000)
                assert page.locator("section.old").count() == 2, "what Kafka says is not old"
                assert page.locator("#tasks tbody tr").count() == 2
                stage.postgres.start()
                expect(page.locator("#state")).to_contain_text("live", timeout=20_000)
        finally:
            performance.close()
            page.close()
    assert problems == []
