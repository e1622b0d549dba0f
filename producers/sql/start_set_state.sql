-- start_set_state: a person or the cloud takes the task to another state, from the states where that makes sense
update call_tasks
set
    state = %(state)s,
    last_error = %(last_error)s,
    assign_due_at = case when %(state)s in ('starting', 'calling') then now() else assign_due_at end,
    updated_at = now()
where task_id = %(task_id)s and state = any(%(allowed)s)
