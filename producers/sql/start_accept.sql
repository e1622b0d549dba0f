-- start_accept: a start request is taken
update call_tasks
set
    state = case when state = 'calling' then state else 'starting' end,
    name = coalesce(%(name)s, name),
    request_id = %(request_id)s,
    options = options || %(options)s::jsonb,
    started_at = coalesce(started_at, now()),
    last_error = null,
    assign_due_at = now(),
    updated_at = now()
where task_id = %(task_id)s
