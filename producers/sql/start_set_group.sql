-- start_set_group: the task's job group, once and for all; what was doubtful of its creation is settled
update call_tasks
set
    job_group_id = coalesce(job_group_id, %(group_id)s),
    assign_doubt_until = case when job_group_id is null then null else assign_doubt_until end,
    updated_at = now()
where task_id = %(task_id)s
returning job_group_id
