-- start_release: gives a task back; due again after a while, or as soon as asked for meanwhile; never where it is closed
update call_tasks
set
    assign_leased_by = null,
    assign_leased_until = null,
    assign_due_at = case
        when state not in ('starting', 'calling') and pending_order is null then null
        when assign_due_at = %(due_at)s then now() + make_interval(secs => %(seconds)s)
        else least(assign_due_at, now() + make_interval(secs => %(seconds)s))
    end,
    last_error = case when state = 'rejected' then last_error else %(last_error)s end,
    updated_at = case when last_error is distinct from %(last_error)s then now() else updated_at end
where assign_leased_by = %(lease)s
