-- poll_discover: every task with an open job is known and due, whatever its state says
insert into call_tasks (task_id)
select distinct task_id
from leads_task_list
where call_job_id <> '' and (call_status is null or call_status <> all(%(ended)s))
on conflict (task_id) do update
set poll_due_at = now()
where call_tasks.poll_due_at > now() + %(within)s
