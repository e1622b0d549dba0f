-- start_order: a person stops a task or lets it go on, from the states where that makes sense; the cloud is to be told
update call_tasks
set
    state = %(state)s,
    pending_order = %(order)s,
    ordered_at = clock_timestamp(),
    last_error = null,
    assign_due_at = now(),
    updated_at = now()
where task_id = %(task_id)s and state = any(%(allowed)s)
returning job_group_id
