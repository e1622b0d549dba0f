"""A real Apache Kafka on this machine, without containers: the jars come from Maven, one JVM is broker and controller.

The jars are resolved once per version into a cache folder, together with a formatted storage folder (formatting costs
a JVM start of its own, copying two small files does not). A broker that was killed registers again only when its old
session has expired, which by default takes nine seconds; the session is shortened so that a restart takes five.
"""

import fcntl
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from devtools.processes import MissingTool, free_port, spawn, stop, wait_ready

_POM = Path(__file__).parent / "kafka" / "pom.xml"
_OTHERWISE = "or name a running broker in CALLSTREAM_TEST_KAFKA (host:port)"
_CLUSTER_ID = "Y2FsbHN0cmVhbS1sb2NhbA"
_FIXED = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
}
_DEFAULTS = {
    "auto.create.topics.enable": "false",
    "broker.heartbeat.interval.ms": "500",
    "broker.session.timeout.ms": "2000",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "500",
    "log.cleaner.dedupe.buffer.size": "1048577",
    "offsets.topic.num.partitions": "1",
    "offsets.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
}


def install() -> Path:
    """Return the folder with the jars (`lib`) and a formatted storage folder (`formatted`); resolve them if need be.

    The folder is `kafka-<version>` below CALLSTREAM_CACHE, or below ~/.cache/callstream. Takes seconds the first
    time. Safe when several processes ask at once: one resolves, the others wait. MissingTool without Java or Maven.
    """
    version = re.search(r"<kafka\.version>(.+?)</kafka\.version>", _POM.read_text())
    if version is None:
        message = f"{_POM} does not name kafka.version"
        raise ValueError(message)
    cache = Path(os.environ.get("CALLSTREAM_CACHE") or Path.home() / ".cache" / "callstream")
    target = cache / f"kafka-{version[1]}"
    if target.is_dir():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_dir():
            with tempfile.TemporaryDirectory(dir=cache, prefix="resolving-") as work:
                made = Path(work) / target.name
                _resolve(made)
                made.rename(target)
    return target


def _resolve(folder: Path) -> None:
    """Fill `folder` with jars by Maven and format one storage folder."""
    maven = _program("mvn", "Apache Kafka's jars need Maven: install the Debian package maven")
    _run(maven, "-B", "-q", "-f", _POM, "dependency:copy-dependencies", f"-DoutputDirectory={folder / 'lib'}")
    settings = folder / "format.properties"
    _write(settings, _FIXED | _addresses(9092, 9093) | {"log.dirs": str(folder / "formatted")})
    _run(*_java(folder), "kafka.tools.StorageTool", "format", "-t", _CLUSTER_ID, "-c", settings)


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        message = f"{command[0]} ended with status {done.returncode}:\n{(done.stdout + done.stderr)[-2000:]}"
        raise RuntimeError(message)


def _program(name: str, otherwise: str) -> Path:
    found = shutil.which(name)
    if found is None:
        message = f"{otherwise}, {_OTHERWISE}"
        raise MissingTool(message)
    return Path(found)


def _java(folder: Path, *options: str) -> list[str | Path]:
    java = _program("java", "Apache Kafka needs Java 17: install the Debian package openjdk-17-jre-headless")
    # Without UsePerfData a killed JVM leaves nothing in the system's temporary folder.
    return [java, "-XX:-UsePerfData", *options, "-cp", f"{folder / 'lib'}/*"]


def _addresses(port: int, controller_port: int) -> dict[str, str]:
    return {
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
    }


def _write(path: Path, settings: Mapping[str, str]) -> None:
    path.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))


class ApacheKafka:
    """One broker, running inside the `with` block; `extra` adds to or replaces its settings.

    Without `directory` all its files are in a temporary folder that goes with it; a given directory stays, and a later
    broker on it continues with its data. Topics are never created by use.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        port: int | None = None,
        heap_mb: int = 512,
        extra: Mapping[str, str] | None = None,
    ) -> None:
        self._directory = directory
        self._port = port or free_port()
        self._controller_port = free_port()
        self._heap_mb = heap_mb
        self._extra = dict(extra or {})
        self._cleanup = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap_servers(self) -> str:
        """`host:port` for clients; the same before, during and after a restart."""
        return f"127.0.0.1:{self._port}"

    @property
    def pid(self) -> int | None:
        """The JVM's process id, None while it is stopped."""
        return self._process.pid if self._process else None

    @property
    def log_path(self) -> Path:
        """The broker's own log (warnings and worse); exists once the broker was started."""
        return self._folder / "broker.log"

    def start(self) -> None:
        """Start on the same port and data, and return when clients are served; nothing when it runs already."""
        if self._process and self._process.poll() is None:
            return
        installed, data, scratch = install(), self._folder / "data", self._folder / "scratch"
        if not data.exists():
            shutil.copytree(installed / "formatted", data)
        scratch.mkdir(exist_ok=True)
        addresses = _addresses(self._port, self._controller_port)
        settings = self._folder / "server.properties"
        _write(settings, _FIXED | addresses | {"log.dirs": str(data)} | _DEFAULTS | self._extra)
        options = (
            f"-Xmx{self._heap_mb}m",
            f"-Djava.io.tmpdir={scratch}",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        )
        with self.log_path.open("ab") as log:
            command = [*_java(installed, *options), "kafka.Kafka", settings]
            self._process = spawn(command, stdout=log, cwd=self._folder)
        wait_ready(self._process, self._answers, log_path=self.log_path, seconds=60)

    def stop(self) -> None:
        """SIGTERM: the broker writes everything down and leaves."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, as when the machine's memory runs out."""
        self._end(signal.SIGKILL)

    def _end(self, first: signal.Signals) -> None:
        if self._process:
            stop(self._process, first=first, grace=20)
            self._process = None

    def _answers(self) -> bool:
        """Whether clients are served, consumer groups too.

        To ask for a group makes the broker create the topic of offsets; the first consumer of a new broker would
        otherwise do that, and waits three seconds before it asks again.
        """
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})
        try:
            if not admin.list_topics(timeout=1).brokers:
                return False
            admin.describe_consumer_groups(["ready"], request_timeout=5)["ready"].result(10)
        except KafkaException:
            return False
        return True

    def __enter__(self) -> Self:
        """Start; on any failure nothing is left."""
        with ExitStack() as undo:
            if self._directory is None:
                temporary = tempfile.TemporaryDirectory(prefix="callstream-kafka-", ignore_cleanup_errors=True)
                self._folder = Path(undo.enter_context(temporary))
            else:
                self._folder = self._directory.resolve()
                self._folder.mkdir(parents=True, exist_ok=True)
            undo.callback(self.kill if self._directory is None else self.stop)
            self.start()
            self._cleanup = undo.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End the broker; nobody needs what a temporary folder holds, so there it is killed."""
        self._cleanup.close()
