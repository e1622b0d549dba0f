-- start_lease: takes due tasks for a while, each under a name that no other lease ever has, not even our own next one
update call_tasks as t
set
    assign_leased_by = %(worker)s || '/' || gen_random_uuid(),
    assign_leased_until = now() + make_interval(secs => %(seconds)s)
where task_id in (
    select task_id
    from call_tasks
    where assign_due_at <= now() and (assign_leased_until is null or assign_leased_until < now())
    order by assign_due_at
    limit %(limit)s
    for update skip locked
)
returning
    t.task_id, t.state, t.job_group_id, t.request_id, t.options, t.assign_doubt_until, clock_timestamp(),
    t.assign_leased_by, t.assign_due_at, t.started_at, t.pending_order, t.ordered_at, t.last_error
