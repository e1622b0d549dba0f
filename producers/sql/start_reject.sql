-- start_reject: the cloud would not have the task; nothing where somebody stopped it
update call_tasks
set state = 'rejected', last_error = %(last_error)s, updated_at = now()
where task_id = %(task_id)s and state in ('starting', 'calling')
