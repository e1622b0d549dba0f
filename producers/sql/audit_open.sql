-- audit_open: tasks with an open job among these rows are known and due, whatever their states say
insert into call_tasks (task_id)
select distinct l.task_id
from leads_task_list as l
where
    l.id > %(after)s and l.id <= %(upto)s
    and l.call_job_id <> '' and (l.call_status is null or l.call_status <> all(%(ended)s))
    and not exists (select from call_tasks as t where t.task_id = l.task_id and t.poll_due_at <= now() + %(within)s)
on conflict (task_id) do update
set poll_due_at = now()
where call_tasks.poll_due_at > now() + %(within)s
