-- start_reopen: tasks that got leads lately are due, finished ones are started again; returns the newest lead's id
with fresh as (
    select distinct task_id
    from leads_task_list
    where id > %(after)s and call_job_id = '' and assign_marked_at is null
), woken as (
    update call_tasks as t
    set
        state = case when t.state = 'done' then 'starting' else t.state end,
        started_at = case when t.state = 'done' then now() else t.started_at end,
        assign_due_at = now(),
        updated_at = now()
    from fresh
    where
        t.task_id = fresh.task_id
        and (
            t.state = 'done'
            or (t.state in ('starting', 'calling') and t.last_error is null and t.assign_leased_by is null
                and t.assign_due_at > now() + interval '2 s')
        )
)
select coalesce(max(id), 0) from leads_task_list
