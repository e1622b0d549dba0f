-- list_tasks: every task with its state and progress, one or all
select
    p.task_id, t.name, coalesce(t.state, 'new') as state, t.job_group_id, t.last_error,
    p.leads, p.unassigned, p.waiting, p.calling, p.succeeded, p.failed, p.cancelled,
    p.interested, p.not_interested, p.with_recording, p.refused, t.pending_order, p.last_update
from call_task_progress as p
left join call_tasks as t using (task_id)
where %(task_id)s::text is null or p.task_id = %(task_id)s::text
order by p.last_update desc, p.task_id
