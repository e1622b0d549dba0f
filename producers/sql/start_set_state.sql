-- start_set_state: the task goes on to another state
update call_tasks set state = %(state)s, updated_at = now()
where task_id = %(task_id)s and state is distinct from %(state)s
