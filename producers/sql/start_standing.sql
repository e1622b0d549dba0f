-- start_standing: a task's state, its group, the order that the cloud has still to obey, and its error
select state, job_group_id, pending_order, last_error from call_tasks where task_id = %(task_id)s
