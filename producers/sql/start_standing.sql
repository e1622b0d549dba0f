-- start_standing: a task's state, its group, and whether a starter works on it
select state, job_group_id, coalesce(assign_leased_until > now(), false) from call_tasks where task_id = %(task_id)s
