-- start_doubt: a call ended unclear; nothing is created or assigned until it has settled, nor before others' doubt ends
update call_tasks
set assign_doubt_until = case
    when assign_leased_by = %(lease)s then clock_timestamp() + %(settle)s
    else greatest(assign_doubt_until, clock_timestamp() + %(settle)s)
end
where task_id = %(task_id)s
