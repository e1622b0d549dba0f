-- poll_renew: keep a task that is still being worked on; touches nothing where somebody else has it
update call_tasks
set poll_leased_until = now() + %(lease)s
where task_id = %(task_id)s and poll_leased_by = %(owner)s and observed_at = %(observed_at)s
