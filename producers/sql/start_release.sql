-- start_release: gives a task back and says when it is to be looked at again; never if it is null
update call_tasks
set
    assign_leased_by = null,
    assign_leased_until = null,
    assign_due_at = now() + make_interval(secs => %(seconds)s),
    last_error = %(last_error)s,
    updated_at = case when last_error is distinct from %(last_error)s then now() else updated_at end
where task_id = %(task_id)s and assign_leased_by = %(worker)s
