-- start_due: a started task is looked at now
update call_tasks set assign_due_at = now()
where task_id = %(task_id)s and state in ('starting', 'calling') and assign_due_at > now()
