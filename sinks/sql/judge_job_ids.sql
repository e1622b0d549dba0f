-- judge_job_ids: an assignment is stale where its lead's row has this job id, and a conflict where it has another; else
-- it waits for the row, which may also have come after the update looked for it
select case
    when t.call_job_id = e.call_job_id then 'stale'
    when t.call_job_id <> '' then 'conflict'
    else 'park'
end
from rows from (jsonb_to_recordset(%(rows)s::jsonb) as (reference_id text, call_job_id text))
    with ordinality as e (reference_id, call_job_id, position)
left join leads_task_list as t on t.reference_id = e.reference_id
order by e.position
