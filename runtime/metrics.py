"""Every metric of the system, as an object: name, meaning, labels. No ids and no phone numbers in labels."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram, Info

BUILD: Final = Info("callstream_build", "Which release a process is, and in which role.")

REBALANCES: Final = Counter(
    "callstream_rebalances",
    "Times that a group changed the share of this process: partitions assigned, revoked or lost.",
    ["change"],
)
CONSUMED: Final = Counter("callstream_records_consumed", "Records taken from a topic.", ["topic"])
PUBLISHED: Final = Counter("callstream_records_published", "Records acknowledged by the broker.", ["topic"])
DEAD_LETTERED: Final = Counter(
    "callstream_records_dead_lettered",
    "Records that nobody could use, by source topic and reason.",
    ["topic", "reason"],
)

OBSERVATIONS: Final = Counter(
    "callstream_observations", "Observed jobs by what change detection made of them.", ["outcome"]
)
FOLLOW_UPS: Final = Counter("callstream_follow_ups", "Analyses by result.", ["is_interested", "forced"])
MODEL_REQUESTS: Final = Counter(
    "callstream_model_requests", "Questions to the model by answer: answered, or what went wrong.", ["outcome"]
)
MODEL_SECONDS: Final = Histogram(
    "callstream_model_seconds",
    "Seconds until the model answered, or failed to.",
    buckets=(0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30, 60),
)
MODEL_TOKENS: Final = Counter("callstream_model_tokens", "Tokens that the model counted, by kind.", ["kind"])
MODEL_IN_FLIGHT: Final = Gauge("callstream_model_in_flight", "Conversations that wait for the model's answer.")

FLUSH_ROWS: Final = Histogram(
    "callstream_sink_flush_rows",
    "Records per flush by what caused it: rows, bytes, age or drain.",
    ["trigger"],
    buckets=(1, 10, 50, 100, 250, 500, 1000, 2500, 5000, 10000),
)
FLUSH_SECONDS: Final = Histogram(
    "callstream_sink_flush_seconds", "Seconds from the start of a flush to its commit, outages included.", ["trigger"]
)
ROWS: Final = Counter("callstream_sink_rows", "Rows by kind and outcome: applied, stale, parked.", ["kind", "outcome"])
PAUSED: Final = Gauge("callstream_sink_paused", "1 while the sink waits for the database and takes no more records.")
DATABASE_ERRORS: Final = Counter("callstream_database_errors", "Database errors by SQLSTATE class.", ["sqlstate_class"])
PARKED: Final = Gauge("callstream_sink_parked_records", "Records that wait for their row.")
CALL_TO_ROW_SECONDS: Final = Histogram(
    "callstream_call_end_to_row_seconds",
    "Seconds from the end of a call to its committed row.",
    buckets=(0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600),
)

API_CALLS: Final = Counter(
    "callstream_cloud_calls", "Calls of the cloud's API by action and answer.", ["action", "code"]
)
POLLS: Final = Counter("callstream_polls", "Looks at a task by what came of them.", ["outcome"])
ASSIGNMENTS: Final = Counter("callstream_assignments", "Leads handed to the cloud by outcome.", ["outcome"])

# The names and labels of kafka_exporter, so that the boards that people have work unchanged.
GROUP_LAG: Final = Gauge(
    "kafka_consumergroup_lag", "Records not yet processed.", ["consumergroup", "topic", "partition"]
)
GROUP_OFFSET: Final = Gauge(
    "kafka_consumergroup_current_offset", "Committed offset.", ["consumergroup", "topic", "partition"]
)
GROUP_LAG_SUM: Final = Gauge(
    "kafka_consumergroup_lag_sum", "Records of a topic not yet processed.", ["consumergroup", "topic"]
)
GROUP_OFFSET_SUM: Final = Gauge(
    "kafka_consumergroup_current_offset_sum", "Committed offsets of a topic, added up.", ["consumergroup", "topic"]
)
GROUP_MEMBERS: Final = Gauge("kafka_consumergroup_members", "Members of a group.", ["consumergroup"])
TOPIC_END: Final = Gauge("kafka_topic_partition_current_offset", "End of a partition.", ["topic", "partition"])
TOPIC_LOW: Final = Gauge("kafka_topic_partition_oldest_offset", "Low watermark of a partition.", ["topic", "partition"])
TOPIC_PARTITIONS: Final = Gauge("kafka_topic_partitions", "Partitions of a topic.", ["topic"])
PARTITION_LEADER: Final = Gauge(
    "kafka_topic_partition_leader", "The broker that leads a partition; -1 for none.", ["topic", "partition"]
)
PARTITION_PREFERRED: Final = Gauge(
    "kafka_topic_partition_leader_is_preferred", "1 where the preferred broker leads.", ["topic", "partition"]
)
PARTITION_REPLICAS: Final = Gauge("kafka_topic_partition_replicas", "Replicas of a partition.", ["topic", "partition"])
PARTITION_IN_SYNC: Final = Gauge(
    "kafka_topic_partition_in_sync_replica", "Replicas of a partition that are in sync.", ["topic", "partition"]
)
PARTITION_UNDER_REPLICATED: Final = Gauge(
    "kafka_topic_partition_under_replicated_partition",
    "1 where replicas of a partition are out of sync.",
    ["topic", "partition"],
)
BROKERS: Final = Gauge("kafka_brokers", "Brokers of the cluster.", registry=None)  # only the monitor registers it
BROKER_INFO: Final = Gauge("kafka_broker_info", "1 for each broker.", ["id", "address"])
GROUP_LAG_SECONDS: Final = Gauge(
    "callstream_consumergroup_lag_seconds",
    "Age of the oldest record not yet processed.",
    ["consumergroup", "topic", "partition"],
)
GROUP_STALLED_SECONDS: Final = Gauge(
    "callstream_consumergroup_stalled_seconds",
    "How long a group has had records to process and committed none of them.",
    ["consumergroup"],
)
DEAD_LETTERS: Final = Gauge("callstream_dead_letters", "Records that a dead letter topic holds.", ["topic"])
OLDEST_LISTING: Final = Gauge(
    "callstream_oldest_listing_seconds", "Age of the oldest last listing among tasks that are being called."
)
