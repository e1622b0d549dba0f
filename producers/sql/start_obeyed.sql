-- start_obeyed: the cloud has certainly obeyed this order, and no later one was given
update call_tasks
set pending_order = null
where task_id = %(task_id)s and ordered_at = %(ordered_at)s and assign_leased_by = %(lease)s
