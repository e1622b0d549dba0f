-- start_accept: a start request is taken; due in a moment, so that its first answer can go out before its effects
update call_tasks
set
    state = case when state = 'calling' then state else 'starting' end,
    name = coalesce(%(name)s, name),
    request_id = %(request_id)s,
    options = %(options)s::jsonb,
    started_at = case when state in ('starting', 'calling') then coalesce(started_at, now()) else now() end,
    last_error = null,
    assign_due_at = now() + interval '2 s',
    updated_at = now()
where task_id = %(task_id)s
returning started_at
