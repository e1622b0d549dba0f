-- start_doubt: a call may or may not have had its effect; until this has settled nothing is created or assigned
update call_tasks set assign_doubt_until = now() + make_interval(secs => %(seconds)s) where task_id = %(task_id)s
