"""Every metric of the system, as an object: name, meaning, labels. No ids and no phone numbers in labels."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

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

FLUSHES: Final = Counter("callstream_sink_flushes", "Flushes of the sink by what caused them.", ["trigger"])
FLUSH_ROWS: Final = Histogram(
    "callstream_sink_flush_rows", "Rows per flush.", buckets=(1, 10, 50, 100, 250, 500, 1000, 2500)
)
FLUSH_SECONDS: Final = Histogram("callstream_sink_flush_seconds", "Seconds from the start of a flush to its commit.")
ROWS: Final = Counter("callstream_sink_rows", "Rows by kind and outcome.", ["kind", "outcome"])
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
TOPIC_END: Final = Gauge("kafka_topic_partition_current_offset", "End of a partition.", ["topic", "partition"])
TOPIC_LOW: Final = Gauge("kafka_topic_partition_oldest_offset", "Low watermark of a partition.", ["topic", "partition"])
GROUP_LAG_SECONDS: Final = Gauge(
    "callstream_consumergroup_lag_seconds",
    "Age of the oldest record not yet processed.",
    ["consumergroup", "topic", "partition"],
)
