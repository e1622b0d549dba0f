-- looked_since: whether a look at a task that began after an instant has ended
select coalesce(observed_at >= %(since)s and poll_leased_by is null, false) from call_tasks where task_id = %(task_id)s
