"""Producers and consumers with the settings that the guarantees rest on, and sending that means it.

Every producer is idempotent, waits for all replicas and places keys by murmur2, as Java and Faust do: librdkafka's own
default agrees with them only by chance. Nothing is called sent before the broker has acknowledged it.
"""

import logging
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import cache, lru_cache
from typing import Any, NamedTuple, TypeVar, cast

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient

from runtime import metrics
from runtime.errors import CallstreamError, RejectedError, RestartError, RetryableError
from runtime.logs import get_logger
from runtime.settings import KafkaSettings, Settings
from schemas.codec import encode
from schemas.ids import event_id_for
from schemas.instants import format_instant
from schemas.topics import DEAD_LETTER_HEADROOM_BYTES, MAX_RECORD_BYTES, Topic

E = TypeVar("E", bound=msgspec.Struct)
Headers = Sequence[tuple[str, bytes | None]]
Config = dict[str, str | int | float | bool]
Report = Callable[[KafkaError | None, Message], None]

SESSION_TIMEOUT_MS = 10_000
PING_SECONDS = 2.0
CHECK_SECONDS = 3.0
QUEUE_FULL_SECONDS = 0.01
PARTITION_BY_KEY = -1
REJECTED = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_MSG_SIZE,
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_TIMESTAMP,
    }
)
UNREADABLE = frozenset({KafkaError._BAD_COMPRESSION, KafkaError._BAD_MSG})  # noqa: SLF001 - their names
UNREADABLE_HEADER = "callstream.unreadable"

log = get_logger(__name__)
_library_log = logging.getLogger("rdkafka")


class Outgoing(NamedTuple):
    """A record to be sent, as bytes; its key chooses the partition unless one is given."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    partition: int = PARTITION_BY_KEY


def client_config(settings: KafkaSettings) -> Config:
    """Return what every client needs to reach the brokers."""
    config: Config = {
        "bootstrap.servers": settings.bootstrap_servers,
        "security.protocol": settings.security_protocol,
        "log_level": 3,
    }
    if settings.security_protocol.startswith("SASL"):
        config["sasl.mechanism"] = settings.sasl_mechanism
        config["sasl.username"] = settings.sasl_username or ""
        config["sasl.password"] = settings.sasl_password.get_secret_value() if settings.sasl_password else ""
    if settings.ssl_ca_location:
        config["ssl.ca.location"] = settings.ssl_ca_location
    return config


def producer_config(settings: KafkaSettings, **overrides: str | float | bool) -> Config:
    """Return the configuration of every producer of the project."""
    return client_config(settings) | {
        "partitioner": "murmur2_random",
        "enable.idempotence": True,
        "acks": "all",
        "compression.type": "lz4",
        "linger.ms": 2,
        "message.max.bytes": MAX_RECORD_BYTES + DEAD_LETTER_HEADROOM_BYTES,
        **overrides,
    }


def consumer_config(settings: Settings, group: str, **overrides: str | float | bool) -> Config:
    """Return the configuration of a consumer that commits by hand, in `group`."""
    config = client_config(settings.kafka) | {
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest",
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": SESSION_TIMEOUT_MS,
        "heartbeat.interval.ms": 2_000,
        "topic.metadata.refresh.interval.ms": 10_000,
        "queued.max.messages.kbytes": 8_192,
        "queued.min.messages": 10_000,
        "fetch.queue.backoff.ms": 50,
        "enable.partition.eof": True,
        **overrides,
    }
    if settings.core.instance_id:
        config["group.instance.id"] = f"{group}-{settings.core.instance_id}"
    return config


def make_consumer(settings: Settings, group: str, **overrides: str | float | bool) -> Consumer:
    """Return a consumer of `group` that commits by hand; connecting happens in the background."""
    return Consumer(consumer_config(settings, group, **overrides), logger=_library_log)


def make_producer(settings: KafkaSettings, **overrides: str | float | bool) -> Producer:
    """Return a producer as all of the project's are; connecting happens in the background."""
    return Producer(producer_config(settings, **overrides), logger=_library_log)


def make_observer(settings: KafkaSettings, group: str, **overrides: str | float | bool) -> Consumer:
    """Return a client that speaks of `group`, its offsets and its topics, without joining it."""
    config = client_config(settings) | {"group.id": group, "enable.auto.commit": False, **overrides}
    return Consumer(config, logger=_library_log)


def make_admin(settings: KafkaSettings) -> AdminClient:
    """Return a client that makes and describes topics."""
    return AdminClient(client_config(settings), logger=_library_log)


def can_reach(client: Producer | Consumer | AdminClient) -> bool:
    """Return whether a broker answers within two seconds."""
    try:
        client.list_topics(timeout=PING_SECONDS)
    except KafkaException:
        return False
    return True


def connection_problem(settings: KafkaSettings) -> str:
    """Return why no broker lets us in, in a sentence; empty where one answers within a few seconds.

    The call that fails says only that it did; the reason (a certificate, a password, a name that does not resolve) is
    what the client reports beside it.
    """
    seen: list[KafkaError] = []
    config = {**client_config(settings), "error_cb": seen.append}
    admin = AdminClient(cast(Config, config), logger=_library_log)  # its types know no callbacks
    try:
        admin.list_topics(timeout=CHECK_SECONDS)
    except KafkaException:
        admin.poll(0)
        reasons = [error.str() for error in seen if error.code() != KafkaError._ALL_BROKERS_DOWN]  # noqa: SLF001 - its name
        if reasons:
            return re.sub(r" \(after \d+ms in state \w+\)$", "", reasons[0])
        return f"nobody answers at {settings.bootstrap_servers} by the security protocol {settings.security_protocol}"
    return ""


def is_data(message: Message) -> bool:
    """Return whether `message` is a record; a client's own error events are logged and are none.

    Raises RestartError where the client says that it is finished, as when a broker that came back has fenced a static
    member: it would go on without error and without a record for ever.
    """
    error = message.error()
    if error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - its name
        log.warning("kafka.consumer_event", error=error.name(), reason=error.str())
        if is_final(error):
            raise RestartError(error.str())
    return error is None


def is_final(error: KafkaError) -> bool:
    """Return whether a client is finished; on messages and exceptions the library says so by the code alone."""
    return error.fatal() or error.code() == KafkaError._FATAL  # noqa: SLF001 - its name


def is_end(message: Message) -> bool:
    """Return whether this is no record, but the client's word that a partition has no more for now.

    Its offset is where to go on: behind the last record, and behind the marks that a producer's transactions left.
    """
    error = message.error()
    return error is not None and error.code() == KafkaError._PARTITION_EOF  # noqa: SLF001 - its name


def is_unreadable(message: Message) -> bool:
    """Return whether this stands for a record that the client cannot unpack; unless told on, it tries for ever."""
    error = message.error()
    return error is not None and error.code() in UNREADABLE


def in_place_of(message: Message) -> Message:
    """Return a record without a value in the place of an unreadable one; a header says why."""
    error = message.error()
    why = error.str() if error is not None else ""
    return Message(
        topic=message.topic(),
        partition=message.partition(),
        offset=message.offset(),
        headers=[(UNREADABLE_HEADER, why.encode())],
    )


def outgoing(topic: Topic[E], event: E, *, source: str) -> Outgoing:
    """Return `event` as a record of `topic` with CloudEvents headers; `source` names the role."""
    key, happened_at = topic.key_of(event), topic.time_of(event)
    stamp = _stamp(happened_at) if happened_at else ""
    event_id = (
        getattr(event, "event_id", None) or getattr(event, "request_id", None) or event_id_for(topic.name, key, stamp)
    )
    headers: Headers = (*_shared_headers(topic.name, source), ("ce_id", event_id.encode()))
    if stamp:
        headers = (*headers, ("ce_time", stamp.encode()))
    return Outgoing(topic.name, key.encode(), encode(event), headers)


@lru_cache(maxsize=64)
def _stamp(instant: datetime) -> str:
    """Return the text of an instant; the last ones are remembered, for all events of a page have one."""
    return format_instant(instant)


@cache
def _shared_headers(topic: str, source: str) -> tuple[tuple[str, bytes], ...]:
    """Return the headers that all records of a topic from one source have."""
    return (
        ("ce_specversion", b"1.0"),
        ("ce_type", topic.encode()),
        ("ce_source", f"callstream/{source}".encode()),
        ("content-type", b"application/json"),
    )


class Delivery:
    """Counts acknowledgements of one set of records; `wait` blocks until all are in or one failed for good."""

    def __init__(self, expected: int) -> None:
        self._left = expected
        self._done = threading.Event()
        self._error: KafkaError | None = None
        if not expected:
            self._done.set()

    def report(self, error: KafkaError | None, message: Message) -> None:
        """Take one delivery report; called by the producer's polling thread."""
        if error is not None:
            self._error = self._error or error
        else:
            metrics.PUBLISHED.labels(message.topic() or "").inc()
        self._left -= 1
        if not self._left:
            self._done.set()

    def wait(self) -> None:
        """Block until every record has its report; raises what the first failure means."""
        self._done.wait()
        if self._error is not None:
            raise error_for(self._error)


class Publisher:
    """A producer whose `publish` returns only after the broker has acknowledged every record.

    Blocks while the broker is away, up to `message.timeout.ms`. Safe to share between threads.
    """

    def __init__(self, settings: KafkaSettings, **overrides: str | float | bool) -> None:
        self._producer = make_producer(settings, **overrides)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="publisher", daemon=True)
        self._thread.start()

    def publish(self, records: Iterable[Outgoing]) -> None:
        """Send and wait; raises RejectedError where the broker refuses a record, RetryableError where it is away.

        RestartError where this producer will send nothing any more.
        After an error some of the records may be in the topic: send all of them again.
        """
        batch = list(records)
        delivery = Delivery(len(batch))
        for record in batch:
            while not enqueue(self._producer, record, delivery.report):
                self._closing.wait(QUEUE_FULL_SECONDS)
        delivery.wait()

    def ping(self) -> bool:
        """Return whether a broker answers within two seconds."""
        return can_reach(self._producer)

    def close(self) -> None:
        """Stop; what is not acknowledged by now stays unsaid to its caller."""
        self._closing.set()
        self._thread.join()
        self._producer.flush(5)

    def _poll(self) -> None:
        while not self._closing.is_set():
            self._producer.poll(0.1)


def enqueue(producer: Producer, record: Outgoing, report: Report) -> bool:
    """Hand a record to the producer, which will `report` on it; returns False where its queue is full.

    Raises what `error_for` makes of it where the client by itself will not send the record.
    """
    try:
        producer.produce(
            record.topic,
            value=record.value,
            key=record.key,
            partition=record.partition,
            headers=list(record.headers),
            on_delivery=report,
        )
    except BufferError:
        return False
    except KafkaException as error:
        raise error_for(error.args[0]) from None
    return True


def error_for(error: KafkaError) -> CallstreamError:
    """Return what a producer's error means to its caller: a RejectedError, RestartError or RetryableError."""
    if is_final(error):
        return RestartError(error.str())
    if error.code() in REJECTED:
        return RejectedError(error.str(), code=error.name())
    return RetryableError(error.str())


def headers_of(message: Message) -> tuple[tuple[str, bytes | None], ...]:
    """Return a record's headers in their order; a header without a value, which Kafka knows, has None.

    Kafka takes a name that is not UTF-8, the client library cannot give it, nor any other header of that record: they
    are left out, and the log says of which record.
    """
    try:
        pairs: list[tuple[str, str | bytes | None]] = list(cast(Any, message.headers()) or ())
        return tuple((name, as_bytes(value)) for name, value in pairs)
    except (SystemError, UnicodeDecodeError):  # the library sets the second, and finds it out at once or a little later
        place = {"topic": message.topic(), "partition": message.partition(), "offset": message.offset()}
        log.warning("kafka.headers_unreadable", **place)
        message.set_headers([])  # or it would give its half-made list when asked again, which ends the process
        return ()


def as_bytes(value: str | bytes | None) -> bytes | None:
    """Return what the client library gives as text or bytes as the bytes that came."""
    return value.encode() if isinstance(value, str) else value
