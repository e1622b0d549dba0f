"""Faust applications, with the settings that the guarantees rest on.

Two of Faust's own ways lose data and are replaced through its extension points. At the end of table recovery it
resumes the source before it seeks, and what was fetched in between counts as acknowledged (faust issue 596):
`SafeRecovery` stops the flow first. And it acknowledges events by itself, skipped and cancelled ones included:
`HeldEvent` is acknowledged by `acknowledge` and by nothing else.
"""

import logging
import ssl
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import faust
from faust.auth import SASLCredentials, SSLCredentials
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.types.auth import CredentialsT

from runtime import metrics
from runtime.settings import KafkaSettings, Settings
from schemas.topics import DEAD_LETTER_HEADROOM_BYTES, MAX_RECORD_BYTES
from streams.consuming import EagerTransport, PromptTransport

SESSION_SECONDS: Final = 10.0
HEARTBEAT_SECONDS: Final = 2.0
COMMIT_SECONDS: Final = 0.5
# An agent that waits for an outage takes nothing for as long; past this time its client would leave the group.
PATIENCE_SECONDS: Final = 7 * 86_400.0


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How messages are taken: at most `most_waiting` wait for the agent, beside what its client has fetched.

    `is_eager` is for small messages, of which there are many (`streams/consuming.py`).
    """

    is_eager: bool = False
    most_waiting: int = 4_096


IN_PAGES: Final = Reading(most_waiting=400)  # 4,096 would be gigabytes of large pages behind a busy agent


class HeldEvent(faust.Event):
    """An event that only its agent acknowledges, when all its effects are."""

    def ack(self) -> bool:
        """Do nothing: Faust calls this for events that it drops, and when an agent is cancelled."""
        return False

    def acknowledge(self) -> None:
        """Say that all effects are there, so that its offset may be committed."""
        super().ack()


class SafeRecovery(Recovery):
    """Recovery that takes nothing from the source between its end and the seek to the committed offsets."""

    logger = logging.getLogger(Recovery.__module__)

    async def on_recovery_completed(self, generation_id: int = 0) -> None:
        """Stop the flow, then do as Faust does."""
        self.app.consumer.stop_flow()
        self.app.flow_control.suspend()
        await super().on_recovery_completed(generation_id)


class SafeTables(TableManager):
    """A table manager that recovers by `SafeRecovery`."""

    logger = logging.getLogger(TableManager.__module__)

    @property
    def recovery(self) -> Recovery:
        """The one recovery of this manager."""
        if self._recovery is None:
            self._recovery = SafeRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery


def create_app(
    settings: Settings,
    *,
    app_id: str,
    datadir: Path,
    topic_prefix: str = "",
    is_recovery_safe: bool = True,
    reading: Reading = IN_PAGES,
) -> faust.App:
    """Return an application without agents; `app_id` is its consumer group, `datadir` exists and is its own.

    `is_recovery_safe=False` leaves Faust's recovery as it is, to show that tests find what it loses.
    """
    group = topic_prefix + app_id
    options: dict[str, Any] = {"TableManager": SafeTables} if is_recovery_safe else {}
    if settings.core.instance_id:
        options["consumer_group_instance_id"] = f"{group}-{settings.core.instance_id}"
    app = faust.App(
        group,
        broker=[f"kafka://{server.strip()}" for server in settings.kafka.bootstrap_servers.split(",")],
        broker_credentials=credentials(settings.kafka),
        broker_session_timeout=SESSION_SECONDS,
        broker_heartbeat_interval=HEARTBEAT_SECONDS,
        broker_commit_interval=COMMIT_SECONDS,
        broker_max_poll_interval=PATIENCE_SECONDS,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=4 * MAX_RECORD_BYTES,
        producer_linger=0.0,
        producer_max_request_size=MAX_RECORD_BYTES + DEAD_LETTER_HEADROOM_BYTES,
        stream_wait_empty=False,
        stream_buffer_maxsize=reading.most_waiting,
        topic_allow_declare=False,
        topic_disable_leader=True,
        topic_partitions=settings.core.topic_partitions,
        table_standby_replicas=0,
        store="memory://",
        web_enabled=False,
        worker_redirect_stdouts=False,
        datadir=datadir,
        Event=HeldEvent,
        **options,
    )
    for signal, change in ((app.on_partitions_assigned, "assigned"), (app.on_partitions_revoked, "revoked")):
        signal.connect(partial(_count, change))
    transport = EagerTransport if reading.is_eager else PromptTransport
    app.transport = transport(app.conf.broker_consumer, app)
    return app


async def _count(change: str, *_: object, **__: object) -> None:
    """Note a rebalance; Faust says neither which nor whether partitions were lost."""
    metrics.REBALANCES.labels(change).inc()


def source(app: faust.App, *names: str, partitions: int) -> Any:
    """Return topics to read as bytes, whatever they hold; Faust's types know no channel of bytes."""
    return app.topic(
        *names, key_type=bytes, key_serializer="raw", value_type=bytes, value_serializer="raw", partitions=partitions
    )


def credentials(settings: KafkaSettings) -> CredentialsT | None:
    """Return what Faust needs to be let in; None for plain text."""
    context = None
    if settings.security_protocol.endswith("SSL"):
        context = ssl.create_default_context(cafile=settings.ssl_ca_location)
    if settings.security_protocol.startswith("SASL"):
        password = settings.sasl_password.get_secret_value() if settings.sasl_password else ""
        return SASLCredentials(
            username=settings.sasl_username or "",
            password=password,
            ssl_context=context,
            mechanism=settings.sasl_mechanism,
        )
    return SSLCredentials(context) if context else None
