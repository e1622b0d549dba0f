-- listed_since: whether a task was listed whole after an instant
select coalesce(listed_at >= %(since)s, false) from call_tasks where task_id = %(task_id)s
