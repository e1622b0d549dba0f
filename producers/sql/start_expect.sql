-- start_expect: a group is about to be created; until this has settled nobody creates again; nothing without the lease
update call_tasks
set assign_doubt_until = clock_timestamp() + %(certainty)s
where
    task_id = %(task_id)s and assign_leased_by = %(lease)s and assign_leased_until > clock_timestamp()
    and state in ('starting', 'calling') and assign_doubt_until is not distinct from %(doubt_until)s
