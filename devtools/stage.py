"""A stage: broker, database and cloud, started or named, and the environment in which the shipped code meets them.

The roles run on it as in production, through `callstream run` and nothing else; the demo and the acceptance tests share
it, so that what the demo shows is what the tests prove.
"""

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from confluent_kafka.admin import AdminClient

from devtools.apache_kafka import ApacheKafka
from devtools.cloud.process import CloudSimulator
from devtools.embedded_broker import EmbeddedBroker
from devtools.postgres import EmbeddedPostgres
from devtools.processes import free_port, spawn, stop
from runtime.topic_admin import WantedTopic, ensure_topics

STAGE_VARIABLES = ("CALLSTREAM_", "ALIBABA_CLOUD_")
PROXIES = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"})


class Stage:
    """The parts, running inside the `with` block; nothing of them is left behind it."""

    def __init__(
        self,
        *,
        broker: Literal["embedded", "apache"] = "embedded",
        kafka: str | None = None,
        postgres: str | None = None,
        cloud: CloudSimulator | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._broker = broker
        self._named_kafka = kafka
        self._named_postgres = postgres
        self.cloud = cloud or CloudSimulator()
        self._settings = dict(settings or {})
        self._cleanup = ExitStack()
        self._embedded_broker: EmbeddedBroker | None = None
        self.postgres: EmbeddedPostgres | None = None
        self.bootstrap_servers = ""
        self.dsn = ""
        self.folder = Path()

    def __enter__(self) -> Self:
        """Start what is not named; on any failure nothing is left."""
        with ExitStack() as undo:
            temporary = tempfile.TemporaryDirectory(prefix="callstream-stage-", ignore_cleanup_errors=True)
            self.folder = Path(undo.enter_context(temporary))
            self.bootstrap_servers = self._named_kafka or self._start_broker(undo)
            self.dsn = self._named_postgres or self._start_postgres(undo)
            undo.enter_context(self.cloud)
            self._cleanup = undo.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End every part and remove the folder."""
        self._cleanup.close()

    def create_topics(self, wanted: Sequence[WantedTopic]) -> None:
        """Make the topics; the embedded broker has no admin calls and makes what is asked for."""
        if self._embedded_broker is not None:
            self._embedded_broker.create_topics([topic.name for topic in wanted])
        else:
            ensure_topics(AdminClient({"bootstrap.servers": self.bootstrap_servers}), wanted)

    def environment(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """Return `inherited` with the settings of this stage in the place of any others, and no way out by a proxy."""
        kept = {
            name: value
            for name, value in inherited.items()
            if not name.upper().startswith(STAGE_VARIABLES) and name.upper() not in PROXIES
        }
        return kept | {
            "CALLSTREAM_KAFKA_BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "CALLSTREAM_POSTGRES_DSN": self.dsn,
            "ALIBABA_CLOUD_ACCESS_KEY_ID": self.cloud.access_key_id,
            "ALIBABA_CLOUD_ACCESS_KEY_SECRET": self.cloud.access_key_secret,
            "CALLSTREAM_OUTBOUNDBOT_INSTANCE_ID": self.cloud.instance_id,
            "CALLSTREAM_OUTBOUNDBOT_ENDPOINT": self.cloud.endpoint,
            "CALLSTREAM_OUTBOUNDBOT_PROTOCOL": "http",
            "CALLSTREAM_POLL_MIN_SECONDS": "1",
            "CALLSTREAM_HTTP_PORT": str(free_port()),
            "TMPDIR": str(self.folder),
            **self._settings,
        }

    def run(self, roles: Sequence[str], inherited: Mapping[str, str], *, log: Path | None = None) -> "Roles":
        """Return the roles as a context that is `callstream run` in a process of its own."""
        return Roles(roles, self.environment(inherited), log or self.folder / "roles.log", self.folder)

    def _start_broker(self, undo: ExitStack) -> str:
        if self._broker == "apache":
            return undo.enter_context(ApacheKafka()).bootstrap_servers
        self._embedded_broker = undo.enter_context(EmbeddedBroker())
        return self._embedded_broker.bootstrap_servers

    def _start_postgres(self, undo: ExitStack) -> str:
        self.postgres = undo.enter_context(EmbeddedPostgres(log_statements=True))
        return self.postgres.create_database("callstream")


class Roles:
    """`callstream run ROLE...` as a child, running inside the `with` block; ends by SIGTERM, as in production."""

    def __init__(self, roles: Sequence[str], environment: Mapping[str, str], log: Path, folder: Path) -> None:
        self.environment = dict(environment)
        self.log = log
        self._roles = roles
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start; returns before the roles are ready."""
        with self.log.open("ab") as log:
            self._process = spawn(
                [sys.executable, "-m", "cli.main", "run", *self._roles],
                stdout=log,
                cwd=self._folder,
                env=self.environment,
            )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Drain and end, by force after 20 s."""
        if self._process is not None:
            stop(self._process, grace=20)

    @property
    def pid(self) -> int | None:
        """The supervisor's process id, None outside the `with` block."""
        return self._process.pid if self._process else None
