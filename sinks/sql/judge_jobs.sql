-- judge_jobs: for each record of a job, whether the job's row is missing
select case when t.id is null then 'missing' else 'stale' end
from rows from (jsonb_to_recordset(%(rows)s::jsonb) as (call_job_id text))
    with ordinality as e (call_job_id, position)
left join leads_task_list as t on t.call_job_id = e.call_job_id and t.call_job_id <> ''
order by e.position
