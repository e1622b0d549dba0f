"""What an operator sees without a broker: roles that live, say that they are not ready, and end when told to."""

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request

from cli.topics import all_topics
from devtools.apache_kafka import ApacheKafka
from devtools.processes import wait_until
from devtools.stage import Stage
from runtime.settings import Settings
from sinks.migrate import migrate

ROLES = ("poll", "start", "stream", "record", "sink", "monitor")
PROCESSES = len(ROLES) + 1  # stream is two


def statuses(first_port: int, page: str) -> set[int]:
    """What the roles answer to a page; 0 where nobody answers."""

    def ask(port: int) -> int:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{page}", timeout=3) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    return {ask(first_port + place) for place in range(PROCESSES)}


def test_without_a_broker_every_role_lives_says_so_and_ends_when_told() -> None:
    """Ready within 60 s of the start; not ready soon after the loss, and alive; exit 0 within 20 s of SIGTERM."""
    with ApacheKafka() as kafka, Stage(kafka=kafka.bootstrap_servers) as stage:
        environment = stage.environment(os.environ)
        first_port = int(environment["CALLSTREAM_HTTP_PORT"])
        migrate(stage.dsn)
        stage.create_topics(all_topics(Settings.load()))
        run = subprocess.Popen([sys.executable, "-m", "cli.main", "run", *ROLES], env=environment, cwd=stage.folder)
        try:
            wait_until(lambda: statuses(first_port, "/readyz") == {200}, seconds=60, what="ready", interval=0.2)
            kafka.kill()
            wait_until(lambda: 200 not in statuses(first_port, "/readyz"), seconds=30, what="not ready", interval=0.2)
            wait_until(lambda: statuses(first_port, "/healthz") == {200}, seconds=30, what="alive", interval=0.2)
            run.send_signal(signal.SIGTERM)
            assert run.wait(20) == 0
        finally:
            run.kill()
            run.wait()
