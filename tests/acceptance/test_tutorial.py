"""The tutorial's commands, as they stand there and in that order, against running roles."""

import os
import re
import subprocess
from pathlib import Path

from devtools.cloud.process import CloudSimulator
from devtools.stage import Stage

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.md"
COMMAND = Path(__file__).parents[2] / ".venv" / "bin"
BLOCKS = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
ROLES = ("poll", "start", "stream", "sink", "monitor")


def test_the_tutorial_does_what_it_says(whole_topics: str, tmp_path: Path) -> None:
    """Each block ends well; what it shows at the end are calls of the three leads that could be used."""
    text = TUTORIAL.read_text(encoding="utf-8")
    blocks = BLOCKS.findall(text)
    assert len(blocks) >= 6
    cloud = CloudSimulator(spread_seconds=1)
    assert all(value in text for value in (cloud.instance_id, cloud.access_key_id, cloud.access_key_secret))
    with Stage(kafka=whole_topics, cloud=cloud) as stage:
        environment = stage.environment(os.environ) | {"PATH": f"{COMMAND}:{os.environ['PATH']}"}

        def run(block: str) -> str:
            done = subprocess.run(
                ["bash", "-euc", block], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120,
                check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
            return done.stdout + done.stderr

        first = run(blocks[0])
        assert "kafka" in first
        with stage.run(ROLES, os.environ):
            said = [run(block) for block in blocks[1:]]
            jobs = cloud.truth()
    assert "sent 3, rejected 1" in said[0]
    assert "line 5: leads_name" in said[0]
    assert "november" in said[1]
    assert len(jobs) >= 2
