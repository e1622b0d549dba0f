-- judge_statuses: a status is stale where its row has its version or a newer one; else it waits for the row, which may
-- also have come after the update looked for it
select case when t.status_version >= e.version then 'stale' else 'park' end
from unnest(%(call_job_id)b::text[], %(version)b::bigint[]) with ordinality as e (call_job_id, version, position)
left join leads_task_list as t on t.call_job_id = e.call_job_id and t.call_job_id <> ''
order by e.position
