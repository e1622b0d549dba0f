-- start_set_group: the task's job group, once and for all; of a group that was found, calls may still be on their way
update call_tasks
set
    job_group_id = coalesce(job_group_id, %(group_id)s),
    assign_doubt_until = case
        when job_group_id is not null then assign_doubt_until
        when not %(is_created)s then greatest(assign_doubt_until, clock_timestamp() + %(certainty)s)
    end,
    updated_at = now()
where task_id = %(task_id)s
returning job_group_id
