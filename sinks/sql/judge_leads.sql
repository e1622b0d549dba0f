-- judge_leads: a lead is stale where its row is there under its own task, lead and reference; else it contradicts one
select case when t.id is null then 'conflict' else 'stale' end
from rows from (jsonb_to_recordset(%(rows)s::jsonb) as (task_id text, leads_id text, reference_id text))
    with ordinality as e (task_id, leads_id, reference_id, position)
left join leads_task_list as t
    on t.reference_id = e.reference_id and t.task_id = e.task_id and t.leads_id = e.leads_id
order by e.position
