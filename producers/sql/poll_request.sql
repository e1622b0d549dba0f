-- poll_request: somebody wants a task to be looked at now; touches nothing where the task is unknown
update call_tasks
set poll_due_at = clock_timestamp(), repair_requested = repair_requested or %(repair)s, updated_at = now()
where task_id = %(task_id)s
