-- judge_recordings: a recording waits while its row is missing, or is open and may still come to show its attempt
select case
    when t.id is null or (t.settled_at is null and t.call_task_id is distinct from e.call_task_id) then 'missing'
    else 'stale'
end
from rows from (jsonb_to_recordset(%(rows)s::jsonb) as (call_job_id text, call_task_id text))
    with ordinality as e (call_job_id, call_task_id, position)
left join leads_task_list as t on t.call_job_id = e.call_job_id and t.call_job_id <> ''
order by e.position
