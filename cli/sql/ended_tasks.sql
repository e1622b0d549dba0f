-- ended_tasks: tasks that are over, with nothing open and nothing written since an instant
select t.task_id
from call_tasks as t
join call_task_progress as p using (task_id)
where
    t.state in ('done', 'cancelled')
    and p.last_update < %(before)s
    and p.waiting = 0 and p.calling = 0
    and exists (select from leads_task_list as l where l.task_id = t.task_id)
order by t.task_id
