"""The broker inside the confluent-kafka wheel, as a process of its own: no Java, no download, ready in 0.2 s.

It is librdkafka's mock cluster. It speaks the real protocol to any client, but: it has no admin API at all (topics
come into being when a client asks for their metadata, always with 4 partitions), no compaction, no retention settings;
it keeps 5 MiB per partition and silently drops the oldest beyond that; everything is in memory and ends with it.

`python -m devtools.embedded_broker` prints one line of JSON, `{"bootstrap_servers": "host:port"}`, and serves until
SIGTERM or SIGINT.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import Producer

from devtools.processes import StartFailedError, spawn, stop, wait_until

PARTITIONS = 4


def serve() -> None:
    """Start the broker in this process, print its address, and return on SIGTERM or SIGINT."""
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    owner = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    (broker,) = owner.list_topics(timeout=10).brokers.values()
    sys.stdout.write(json.dumps({"bootstrap_servers": f"{broker.host}:{broker.port}"}) + "\n")
    sys.stdout.flush()
    signal.sigwait(ends)


def _exists(client: Producer, name: str) -> bool:
    """Whether the topic has its partitions; to ask is to create."""
    topic = client.list_topics(name, timeout=10).topics[name]
    return topic.error is None and len(topic.partitions) == PARTITIONS


def _announced(process: subprocess.Popen[bytes]) -> str:
    """Wait for the address that `serve` prints; StartFailedError if the process ends instead."""
    line = process.stdout.readline() if process.stdout else b""
    if not line:
        raise StartFailedError("the embedded broker ended before it was ready; see its messages on stderr")
    return str(json.loads(line)["bootstrap_servers"])


class EmbeddedBroker:
    """The broker's process, running inside the `with` block."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._bootstrap_servers = ""

    @property
    def bootstrap_servers(self) -> str:
        """`host:port` for clients, of this machine only."""
        return self._bootstrap_servers

    @property
    def pid(self) -> int | None:
        """The broker's process id, None outside the `with` block."""
        return self._process.pid if self._process else None

    def create_topics(self, names: Iterable[str]) -> None:
        """Bring the topics into being, each with 4 partitions; those that exist stay as they are."""
        client = Producer({"bootstrap.servers": self._bootstrap_servers, "log_level": 0})
        for name in names:
            wait_until(partial(_exists, client, name), seconds=10, what=f"topic {name}")

    def __enter__(self) -> Self:
        """Start and return when the address is known; StartFailedError if the process ends instead."""
        command = [sys.executable, "-m", "devtools.embedded_broker"]
        self._process = spawn(command, stdout=subprocess.PIPE, stderr=None, cwd=Path(__file__).parents[1])
        try:
            self._bootstrap_servers = _announced(self._process)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End the process, and everything it held."""
        self._end()

    def _end(self) -> None:
        if self._process:
            stop(self._process)
            self._process = None


if __name__ == "__main__":
    serve()
