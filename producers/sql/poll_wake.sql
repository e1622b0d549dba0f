-- poll_wake: tasks that sleep although somebody started them again are due
update call_tasks
set poll_due_at = now()
where state in ('starting', 'calling') and poll_due_at > now() + %(asleep)s
