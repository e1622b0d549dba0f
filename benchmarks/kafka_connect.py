"""A Kafka Connect worker with the Debezium JDBC sink, from Maven: one JVM, spoken to over its REST interface."""

import http.client
import json
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from devtools.jars import kept, program, property_of, resolve
from devtools.processes import free_port, spawn, stop, wait_ready

_POMS = Path(__file__).parent / "jars"
_MAVEN = "Kafka Connect's jars need Maven: install the Debian package maven"
_JAVA = "Kafka Connect needs Java 17: install the Debian package openjdk-17-jre-headless"
HEAP = ("-Xms256m", "-Xmx1g", "-XX:+UseG1GC")  # half of what Connect's own start script allows


def installed() -> tuple[Path, Path]:
    """Return the worker's jars and the folder of plugins, with the Debezium JDBC sink; resolve them if need be."""
    connect, debezium = _POMS / "connect" / "pom.xml", _POMS / "debezium" / "pom.xml"
    return (
        kept(f"connect-{property_of(connect, 'kafka.version')}", lambda to: resolve(connect, to, missing=_MAVEN)),
        kept(
            f"debezium-{property_of(debezium, 'debezium.version')}",
            lambda to: resolve(debezium, to / "debezium-jdbc", missing=_MAVEN),
        ),
    )


class ConnectWorker:
    """A standalone worker, running inside the `with` block."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._port = free_port()
        self._cleanup = ExitStack()
        self._process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        """The JVM's process id."""
        return self._process.pid

    def run(self, name: str, config: Mapping[str, str]) -> None:
        """Start a connector; returns before its tasks run."""
        self._ask("PUT", f"/connectors/{name}/config", dict(config))

    def remove(self, name: str) -> None:
        """Stop a connector and forget it."""
        self._ask("DELETE", f"/connectors/{name}")

    def check(self, name: str) -> None:
        """Raise RuntimeError where a task of the connector has failed, with its trace."""
        for task in self._ask("GET", f"/connectors/{name}/status")["tasks"]:
            if task["state"] == "FAILED":
                raise RuntimeError(task["trace"][:3000])

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            connection.request(method, path, json.dumps(body) if body else None, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        if response.status >= 300:
            message = f"{method} {path}: {response.status} {answer[:2000].decode()}"
            raise RuntimeError(message)
        return json.loads(answer) if answer else None

    def _answers(self) -> bool:
        try:
            self._ask("GET", "/connectors")
        except (OSError, RuntimeError):
            return False
        return True

    def __enter__(self) -> Self:
        """Start, and return when connectors may be run; on any failure nothing is left."""
        jars, plugins = installed()
        java = program("java", _JAVA)
        with ExitStack() as undo:
            folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="callstream-connect-")))
            settings = {
                "bootstrap.servers": self._bootstrap,
                "key.converter": "org.apache.kafka.connect.storage.StringConverter",
                "value.converter": "org.apache.kafka.connect.json.JsonConverter",
                "offset.storage.file.filename": str(folder / "offsets"),
                "offset.flush.interval.ms": "5000",
                "listeners": f"HTTP://127.0.0.1:{self._port}",
                "plugin.path": str(plugins),
                "plugin.discovery": "SERVICE_LOAD",
                "connector.client.config.override.policy": "All",
            }
            (folder / "worker.properties").write_text("".join(f"{k}={v}\n" for k, v in settings.items()))
            options = (*HEAP, "-XX:-UsePerfData", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
            command: list[str | Path] = [
                java,
                *options,
                "-cp",
                f"{jars}/*",
                "org.apache.kafka.connect.cli.ConnectStandalone",
            ]
            log_path = folder / "connect.log"
            with log_path.open("wb") as log:
                self._process = spawn([*command, folder / "worker.properties"], stdout=log, cwd=folder)
            undo.callback(stop, self._process)
            wait_ready(self._process, self._answers, log_path=log_path, seconds=90)
            self._cleanup = undo.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End the worker; its files go with it."""
        self._cleanup.close()
