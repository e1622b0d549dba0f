"""`callstream dlq` on a real Kafka: what a person sees, what is sent, and what never is."""

import json
import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from devtools.processes import spawn, wait_until
from runtime.clock import SystemClock
from runtime.dead_letter_box import CHUNK
from runtime.dead_letters import DeadLetter, DeadLetterOffice, Origin, as_record
from runtime.kafka import Headers, Publisher, as_bytes, headers_of
from schemas.topics import LEAD_ADDED, START_REQUESTED, STATUS_CHANGED, AnyTopic
from tests.fixtures.bad_records import ODD_HEADERS, ODD_KEYS
from tests.fixtures.command import Command, arguments, command_environment
from tests.fixtures.topics import read_messages

On = Callable[[str], Command]


def dead(
    number: int,
    topic: AnyTopic = LEAD_ADDED,
    *,
    kind: str = "undecodable",
    original: int | None = None,
    headers: Headers | None = None,
) -> DeadLetter:
    """A dead letter with odd key and headers; its value is its number."""
    origin = Origin(
        topic=topic.name,
        partition=0,
        offset=number if original is None else original,
        key=ODD_KEYS[number % len(ODD_KEYS)],
        value=b"%d" % number,
        headers=ODD_HEADERS[number % len(ODD_HEADERS)] if headers is None else headers,
    )
    return DeadLetter(origin=origin, kind=kind, reason=f"[red]reason[/red] {number} at `$.call_conversation[...]`")


def values(bootstrap: str, topic: AnyTopic) -> Counter[bytes]:
    """The values that were sent to a topic."""
    return Counter(as_bytes(message.value()) or b"" for message in read_messages(bootstrap, topic.name))


def test_list_and_show_say_what_lies_there_and_why(topics: str, publisher: Publisher, callstream: On) -> None:
    """By topic and reason, for people and for machines; the newest last; no content, and no markup of theirs."""
    run = callstream(topics)
    assert run("dlq", "list").stdout.strip() == "no dead letters"
    assert json.loads(run("dlq", "list", "--json").stdout.splitlines()[-1]) == []
    office = DeadLetterOffice(publisher, "some-group")
    office.send([dead(1), dead(2), dead(3, kind="refused"), dead(4, STATUS_CHANGED)])
    found = json.loads(run("dlq", "list", "--json").stdout.splitlines()[-1])
    counts = {(entry["topic"], entry["stage"]): (entry["letters"], entry["waiting"]) for entry in found}
    assert counts == {
        (LEAD_ADDED.name, "undecodable"): (2, 2),
        (LEAD_ADDED.name, "refused"): (1, 1),
        (STATUS_CHANGED.name, "undecodable"): (1, 1),
    }
    time.sleep(0.01)
    office.send([dead(5)])
    shown = run("dlq", "show", LEAD_ADDED.dead_letters, "--max", "1").stdout
    assert f"{LEAD_ADDED.name}[0]@5" in shown
    assert "[red]reason[/red] 5 at `$.call_conversation[...]`" in shown
    assert "reason[/red] 1" not in shown


def test_replay_sends_each_original_once_and_says_what_it_leaves(
    topics: str, publisher: Publisher, callstream: On
) -> None:
    """First dry, then two, then the rest, then nothing; key, value and headers byte for byte."""
    run = callstream(topics)
    letters = [dead(number) for number in range(6)]
    DeadLetterOffice(publisher, "test").send([*letters, dead(0)])
    dry = run("dlq", "replay", LEAD_ADDED.name, "--dry-run")
    assert (dry.returncode, dry.stdout) == (0, "would send 6 of 7\nleft 1: the same record was sent already\n")
    assert values(topics, LEAD_ADDED) == {}
    assert run("dlq", "replay", LEAD_ADDED.name, "--max", "2").stdout.startswith("sent 2 of 7\n")
    assert values(topics, LEAD_ADDED).total() == 2
    assert run("dlq", "replay", LEAD_ADDED.dead_letters).stdout.startswith("sent 4 of 5\n")
    assert run("dlq", "replay", LEAD_ADDED.name, "--force").stdout.startswith("sent 0 of ")
    found = [
        (as_bytes(message.key()), as_bytes(message.value()), headers_of(message))
        for message in read_messages(topics, LEAD_ADDED.name)
    ]
    assert Counter(found) == Counter((one.origin.key, one.origin.value, one.origin.headers) for one in letters)
    [entry] = json.loads(run("dlq", "list", "--json").stdout.splitlines()[-1])
    assert (entry["letters"], entry["waiting"]) == (7, 1)


def test_what_dies_again_after_three_replays_is_left(topics: str, publisher: Publisher, callstream: On) -> None:
    """Nothing goes round for ever; --force sends it once more."""
    run = callstream(topics)
    office = DeadLetterOffice(publisher, "test")
    for death in range(4):
        office.send([dead(0, original=death)])
        if death < 3:
            assert run("dlq", "replay", LEAD_ADDED.name).stdout == "sent 1 of 1\n"
    assert "left 1: it was sent 3 times" in run("dlq", "replay", LEAD_ADDED.name).stdout
    assert run("dlq", "replay", LEAD_ADDED.name, "--force").stdout == "sent 1 of 1\n"


@contextmanager
def own_timestamps(admin: AdminClient, topic: str) -> Iterator[None]:
    """A topic whose records say themselves how old they are."""

    def alter(value: str) -> None:
        entry = ConfigEntry("message.timestamp.type", value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        for future in admin.incremental_alter_configs([resource]).values():
            future.result(10)
        time.sleep(0.5)

    alter("CreateTime")
    try:
        yield
    finally:
        alter("LogAppendTime")


def test_old_start_requests_are_sent_with_force_only(topics: str, kafka_admin: AdminClient, callstream: On) -> None:
    """Nobody is called today because of what somebody wished two days ago."""
    run = callstream(topics)
    record = as_record(dead(1, START_REQUESTED), group="test")
    died_at = SystemClock().now() - timedelta(days=2)
    with own_timestamps(kafka_admin, START_REQUESTED.dead_letters):
        producer = Producer({"bootstrap.servers": topics})
        producer.produce(
            record.topic, record.value, record.key, headers=list(record.headers),
            timestamp=round(died_at.timestamp() * 1000),
        )  # fmt: skip
        assert producer.flush(10) == 0
    left = run("dlq", "replay", START_REQUESTED.name)
    assert left.stdout == "sent 0 of 1\nleft 1: a start request older than a day; --force sends it\n"
    assert values(topics, START_REQUESTED) == {}
    assert run("dlq", "replay", START_REQUESTED.name, "--force").stdout == "sent 1 of 1\n"
    assert values(topics, START_REQUESTED) == {b"1": 1}


@pytest.mark.parametrize("words", [("show", "no.such.topic"), ("replay", "no.such.topic", "--dry-run")])
def test_an_unknown_topic_is_a_sentence_and_status_1(topics: str, callstream: On, words: tuple[str, ...]) -> None:
    """And nothing on stdout."""
    done = callstream(topics)("dlq", *words)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "there is no topic no.such.topic.dlq" in done.stderr


def test_wrong_usage_is_status_2(topics: str, callstream: On) -> None:
    """--max is one or more."""
    assert callstream(topics)("dlq", "replay", LEAD_ADDED.name, "--max", "0").returncode == 2


def test_a_broker_that_is_away_is_a_sentence_and_status_1(callstream: On) -> None:
    """Within a minute, without a traceback."""
    done = callstream("127.0.0.1:9")("dlq", "replay", LEAD_ADDED.name)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1


def test_a_replay_killed_in_the_middle_is_finished_by_the_next(
    topics: str, publisher: Publisher, callstream: On, tmp_path: Path
) -> None:
    """Every original is sent; of those of one chunk some twice, of all others none."""
    count = 6000
    DeadLetterOffice(publisher, "test").send([dead(number, headers=()) for number in range(count)])
    with spawn(
        arguments("dlq", "replay", LEAD_ADDED.name), stdout=subprocess.DEVNULL, cwd=tmp_path,
        env=command_environment(topics),
    ) as replaying:  # fmt: skip
        wait_until(lambda: values(topics, LEAD_ADDED).total() > 0, seconds=30, what="a replay that has begun")
        time.sleep(random.uniform(0, 0.2))
        replaying.kill()
    before = values(topics, LEAD_ADDED).total()
    assert 0 < before < count, "the kill came too late to prove anything"
    done = callstream(topics)("dlq", "replay", LEAD_ADDED.name)
    assert done.returncode == 0, done.stderr
    sent = values(topics, LEAD_ADDED)
    assert set(sent) == {b"%d" % number for number in range(count)}
    assert sent.total() - count <= CHUNK
    assert callstream(topics)("dlq", "replay", LEAD_ADDED.name).stdout.startswith("sent 0 of 0")
