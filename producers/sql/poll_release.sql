-- poll_release: give a task back; what was asked for since the lease (another due time) is kept
update call_tasks
set
    poll_leased_by = null,
    poll_leased_until = null,
    poll_standing = case
        when poll_due_at = %(leased_due_at)s then coalesce(%(standing)s::jsonb, poll_standing)
        else coalesce(%(standing)s::jsonb, poll_standing) - 'whole_at'
    end,
    repair_requested = repair_requested and (poll_due_at <> %(leased_due_at)s or not %(is_repaired)s),
    poll_due_at = case
        when poll_due_at = %(leased_due_at)s then now() + %(delay)s
        else least(poll_due_at, now() + %(delay)s)
    end,
    state = case when %(is_done)s and state = 'calling' then 'done' else state end,
    updated_at = case when %(is_done)s and state = 'calling' then now() else updated_at end
where task_id = %(task_id)s and poll_leased_by = %(owner)s and observed_at = %(observed_at)s
