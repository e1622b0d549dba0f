"""A real Apache Kafka on this machine, without containers: the jars come from Maven, one JVM is broker and controller.

The jars are resolved once per version into a cache folder, together with a formatted storage folder (formatting costs
a JVM start of its own, copying two small files does not). A broker that was killed registers again only when its old
session has expired, which by default takes nine seconds; the session is shortened so that a restart takes five.
"""

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from devtools.jars import kept, program, property_of, resolve, run
from devtools.processes import free_port, spawn, stop, wait_ready

_POM = Path(__file__).parent / "kafka" / "pom.xml"
_OTHERWISE = "or name a running broker in CALLSTREAM_TEST_KAFKA (host:port)"
_CLUSTER_ID = "Y2FsbHN0cmVhbS1sb2NhbA"
_FIXED = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
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

    The folder is `kafka-<version>-tools` in the cache. Takes seconds the first time. MissingTool without Java or Maven.
    """
    return kept(f"kafka-{property_of(_POM, 'kafka.version')}-tools", _make)


def consumer_groups(bootstrap_servers: str, *words: str) -> str:
    """Return what Kafka's own tool for consumer groups prints; raises RuntimeError where it fails."""
    command = [*_java(install()), "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"]
    return run(*command, "--bootstrap-server", bootstrap_servers, *words)


def _make(folder: Path) -> None:
    """Fill `folder` with jars by Maven and format one storage folder."""
    resolve(
        _POM, folder / "lib", missing=f"Apache Kafka's jars need Maven: install the Debian package maven, {_OTHERWISE}"
    )
    settings = folder / "format.properties"
    _write(settings, _FIXED | _addresses(9092, 9093) | {"log.dirs": str(folder / "formatted")})
    run(*_java(folder), "kafka.tools.StorageTool", "format", "-t", _CLUSTER_ID, "-c", settings)


def _java(folder: Path, *options: str) -> list[str | Path]:
    java = program(
        "java", f"Apache Kafka needs Java 17: install the Debian package openjdk-17-jre-headless, {_OTHERWISE}"
    )
    # Without UsePerfData a killed JVM leaves nothing in the system's temporary folder.
    return [java, "-XX:-UsePerfData", *options, "-cp", f"{folder / 'lib'}/*"]


def _addresses(port: int, controller_port: int, more: Mapping[str, int] = MappingProxyType({})) -> dict[str, str]:
    clients = ",".join(f"{name}://127.0.0.1:{number}" for name, number in {"PLAINTEXT": port, **more}.items())
    protocols = "".join(f",{name}:{name}" for name in more)
    return {
        "listeners": f"{clients},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": clients,
        "listener.security.protocol.map": f"CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT{protocols}",
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
    }


def _write(path: Path, settings: Mapping[str, str]) -> None:
    path.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))


class ApacheKafka:
    """One broker, running inside the `with` block; `extra` adds to or replaces its settings.

    `listeners` are further ones by security protocol, with their ports; what they need is in `extra`.

    Without `directory` all its files are in a temporary folder that goes with it; a given directory stays, and a later
    broker on it continues with its data. Topics are never created by use.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        port: int | None = None,
        heap_mb: int = 512,
        listeners: Mapping[str, int] | None = None,
        extra: Mapping[str, str] | None = None,
    ) -> None:
        self._directory = directory
        self._port = port or free_port()
        self.listeners = dict(listeners or {})
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
        addresses = _addresses(self._port, self._controller_port, self.listeners)
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
        wait_ready(self._process, self._answers, log_path=self.log_path, seconds=120)

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
