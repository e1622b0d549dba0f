-- start_settle: every call of ours was answered for certain; nobody else's doubt is touched
update call_tasks
set assign_doubt_until = null
where task_id = %(task_id)s and assign_leased_by = %(lease)s and assign_doubt_until = %(doubt_until)s
