-- judge_follow_ups: a follow-up is stale where its row has its version or a newer one; else it waits for the row, which
-- may also have come after the update looked for it
select case when t.follow_version >= e.version then 'stale' else 'park' end
from rows from (jsonb_to_recordset(%(rows)s::jsonb) as (call_job_id text, version bigint))
    with ordinality as e (call_job_id, version, position)
left join leads_task_list as t on t.call_job_id = e.call_job_id and t.call_job_id <> ''
order by e.position
