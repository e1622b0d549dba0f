-- judge_job_ids: for each assignment, whether its lead's row is missing, has this job id, or has another
select case
    when t.id is null then 'missing'
    when t.call_job_id = e.call_job_id then 'stale'
    else 'conflict'
end
from rows from (jsonb_to_recordset(%(rows)s::jsonb) as (reference_id text, call_job_id text))
    with ordinality as e (reference_id, call_job_id, position)
left join leads_task_list as t on t.reference_id = e.reference_id
order by e.position
