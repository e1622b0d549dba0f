-- start_group: a task's job group
select job_group_id from call_tasks where task_id = %(task_id)s
