-- poll_request: somebody wants all open jobs to be listed now; a repair also has leads without a job compared
update call_tasks as t
set
    poll_due_at = clock_timestamp(),
    poll_standing = poll_standing - 'whole_at',
    repair_requested = repair_requested or %(repair)s,
    state = case
        when %(repair)s and state = 'done' and exists (
            select from leads_task_list as l where l.task_id = t.task_id and l.call_job_id = ''
        ) then 'starting'
        else state
    end,
    assign_due_at = case
        when %(repair)s and state in ('starting', 'calling', 'done') then now()
        else assign_due_at
    end,
    updated_at = now()
where task_id = %(task_id)s
