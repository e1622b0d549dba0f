-- poll_adopt: schedule a task of which only leads are known
insert into call_tasks (task_id, repair_requested)
select %(task_id)s, %(repair)s
where exists (select from leads_task_list where task_id = %(task_id)s)
on conflict (task_id) do update
set poll_due_at = now(), repair_requested = call_tasks.repair_requested or excluded.repair_requested
