-- start_renew: keeps tasks that are still being worked on; touches nothing that somebody else has taken
update call_tasks
set assign_leased_until = now() + make_interval(secs => %(seconds)s)
where assign_leased_by = any(%(leases)s)
