-- judge_recordings: a recording is stale where the row has one as new, or has ended with another attempt; else it waits
-- for the row, or for the open row to show its attempt
select case
    when t.call_task_id = e.call_task_id and t.recorded_at >= e.recorded_at then 'stale'
    when t.call_task_id is distinct from e.call_task_id and t.settled_at is not null then 'stale'
    else 'park'
end
from rows from (jsonb_to_recordset(%(rows)s::jsonb) as (call_job_id text, call_task_id text, recorded_at timestamptz))
    with ordinality as e (call_job_id, call_task_id, recorded_at, position)
left join leads_task_list as t on t.call_job_id = e.call_job_id and t.call_job_id <> ''
order by e.position
