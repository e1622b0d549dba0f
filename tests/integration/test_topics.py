"""Topics on a real broker: made whole, made once, and what differs is named and left."""

from confluent_kafka.admin import AdminClient

from devtools.processes import wait_until
from runtime.topic_admin import WantedTopic, differences, ensure_topics
from schemas.topics import DEAD_LETTER_CONFIG, LEAD_ADDED
from tests.fixtures.kafka import TopicFactory
from tests.fixtures.topics import has_leaders


def test_what_is_made_differs_in_nothing_and_is_made_once(kafka_admin: AdminClient, topic_prefix: str) -> None:
    """The second time nothing is done, nothing is named."""
    wanted = [
        WantedTopic(name=f"{topic_prefix}.source", partitions=4, config=LEAD_ADDED.config),
        WantedTopic(name=f"{topic_prefix}.letters", partitions=4, config=DEAD_LETTER_CONFIG),
    ]
    names = [topic.name for topic in wanted]
    try:
        assert ensure_topics(kafka_admin, wanted).created == tuple(sorted(names))
        wait_until(lambda: has_leaders(kafka_admin, names), seconds=90, what="leaders of new topics")
        report = ensure_topics(kafka_admin, wanted)
        assert (report.created, report.differences) == ((), ())
    finally:
        for future in kafka_admin.delete_topics(names).values():
            future.result(30)


def test_what_differs_is_named_with_what_it_is_and_what_is_wanted(
    kafka_admin: AdminClient, new_topic: TopicFactory
) -> None:
    """A topic that somebody else made: each property is a sentence of its own, compaction above all."""
    name = new_topic(2, **{"cleanup.policy": "compact", "message.timestamp.type": "CreateTime", "retention.ms": "1000"})
    wait_until(lambda: name in kafka_admin.list_topics(timeout=10).topics, seconds=30, what="a new topic")
    wanted = [WantedTopic(name=name, partitions=4, config=LEAD_ADDED.config)]
    assert ensure_topics(kafka_admin, wanted).created == ()
    assert set(differences(kafka_admin, wanted)) == {
        f"{name}: 2 partitions, 4 wanted",
        f"{name}: cleanup.policy is compact, delete wanted",
        f"{name}: message.timestamp.type is CreateTime, LogAppendTime wanted",
        f"{name}: retention.ms is 1000, {LEAD_ADDED.config['retention.ms']} wanted",
        f"{name}: max.message.bytes is 1048588, 1048576 wanted",
    }
    assert len(kafka_admin.list_topics(timeout=10).topics[name].partitions) == 2
