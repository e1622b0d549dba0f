-- start_reopen: tasks that got leads lately, or whose refused leads were corrected, are due, finished ones are started
-- again; returns up to which lead there is nothing more to come: a transaction that inserts leads ends within a minute
with fresh as (
    select task_id
    from leads_task_list
    where id > %(after)s and call_job_id = '' and assign_marked_at is null and assign_refused is null
    union
    select task_id
    from leads_task_list
    where
        call_job_id = '' and assign_refused is not null
        and assign_contact <> md5(jsonb_build_array(leads_name, leads_phone, extras)::text)
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
select coalesce(
    (select id from leads_task_list where created_at < now() - interval '1 minute' order by id desc limit 1), 0
)
