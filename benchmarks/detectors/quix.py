"""Change detection with quixstreams: a page is a message, its row is in the state store with its changelog.

Usage: PREFIX=... BROKER=... STATE=... python -m benchmarks.detectors.quix, in an environment of its own

A checkpoint every half second: events and changelog are acknowledged, then offsets are committed.
"""

from os import environ

from quixstreams import Application, State
from quixstreams.models import BytesDeserializer, BytesSerializer, SerializationContext, Serializer

from benchmarks.detectors.step import observe
from runtime.kafka import Outgoing
from schemas.topics import JOBS_POLLED, STATUS_CHANGED
from streams.changes import decode_row, encode_row

PREFIX = environ["PREFIX"]


class RecordSerializer(Serializer):  # type: ignore[misc] # quixstreams is not installed where types are checked
    """Takes the value of a record that is bytes already."""

    def __call__(self, value: Outgoing, ctx: SerializationContext) -> bytes | None:  # noqa: ARG002 - called by name
        """Return the bytes."""
        return value.value


def detect(value: bytes, state: State) -> list[Outgoing]:
    """Return the events of a page and keep its row."""
    row = decode_row(state.get_bytes("row"))
    must_write, records = observe(row, value, PREFIX)
    if must_write:
        state.set_bytes("row", encode_row(row))
    return records


def main() -> None:
    """Detect changes until SIGTERM."""
    app = Application(
        environ["BROKER"],
        consumer_group=f"{PREFIX}group",
        auto_offset_reset="earliest",
        commit_interval=0.5,
        state_dir=environ["STATE"],
        loglevel="WARNING",
        producer_extra_config={"compression.type": "lz4", "linger.ms": 2, "partitioner": "murmur2_random"},
    )
    source = app.topic(PREFIX + JOBS_POLLED.name, value_deserializer=BytesDeserializer())
    events = app.topic(
        PREFIX + STATUS_CHANGED.name, key_serializer=BytesSerializer(), value_serializer=RecordSerializer()
    )
    stream = app.dataframe(source).apply(detect, stateful=True, expand=True)
    stream = stream.set_headers(lambda record, _key, _time, _headers: list(record.headers))
    stream.to_topic(events, key=lambda record: record.key)
    app.run()


if __name__ == "__main__":
    main()
