-- oldest_listing: seconds since the last whole listing of the task that has waited longest for one while it is called
select coalesce(
    extract(epoch from now() - min(coalesce((poll_standing ->> 'whole_at')::timestamptz, observed_at, started_at))), 0
)::float8
from call_tasks
where state = 'calling'
