-- recent_tasks: state and progress of the tasks that are being called, then of those that moved last
select
    t.task_id, coalesce(t.state, 'new'), p.leads, p.unassigned, p.waiting, p.calling, p.succeeded, p.failed,
    p.cancelled, p.interested, p.not_interested, p.last_update
from (
    select task_id, state, updated_at
    from call_tasks
    order by (state in ('starting', 'calling')) desc nulls last, updated_at desc
    limit %(limit)s
) as t
cross join lateral (select * from call_task_progress as p where p.task_id = t.task_id) as p
order by t.updated_at desc, t.task_id
