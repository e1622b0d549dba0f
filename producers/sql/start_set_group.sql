-- start_set_group: the task's job group, once and for all
update call_tasks set job_group_id = %(group_id)s, updated_at = now()
where task_id = %(task_id)s and (job_group_id is null or job_group_id = %(group_id)s)
