-- park_records: what found no row waits here; of one key the newest version waits
insert into parked_records as p (
    kind, key, variant, version, topic, partition, "offset", record_key, record_value, record_headers, expires_at
)
select
    kind, key, variant, version, topic, partition, "offset",
    decode(record_key, 'base64'), decode(record_value, 'base64'), decode(record_headers, 'base64'),
    coalesce(expires_at, now() + make_interval(secs => %(seconds)s))
from jsonb_to_recordset(%(rows)s::jsonb) as e (
    kind text, key text, variant text, version bigint, topic text, partition integer, "offset" bigint,
    record_key text, record_value text, record_headers text, expires_at timestamptz
)
on conflict (kind, key, variant) do update
set
    version = excluded.version,
    topic = excluded.topic,
    partition = excluded.partition,
    "offset" = excluded."offset",
    record_key = excluded.record_key,
    record_value = excluded.record_value,
    record_headers = excluded.record_headers
where p.version < excluded.version
