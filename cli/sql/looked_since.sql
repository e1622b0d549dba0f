-- looked_since: whether a look at a task that began after an instant has succeeded, and no repair is still to be made
select coalesce((poll_standing ->> 'looked_at')::timestamptz >= %(since)s and not repair_requested, false)
from call_tasks
where task_id = %(task_id)s
