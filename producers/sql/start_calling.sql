-- start_calling: the request that was worked on is answered, unless somebody stopped the task or asked anew
update call_tasks
set state = 'calling', updated_at = now()
where task_id = %(task_id)s and state = 'starting' and request_id is not distinct from %(request_id)s
