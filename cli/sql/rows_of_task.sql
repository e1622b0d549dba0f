-- rows_of_task: some rows of a task, locked
select task_id, reference_id, call_job_id from leads_task_list where task_id = %(task_id)s order by id limit %(limit)s for update
