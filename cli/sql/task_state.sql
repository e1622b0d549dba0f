-- task_state: the request that a task took last, its state and its error
select request_id, state, last_error from call_tasks where task_id = %(task_id)s
