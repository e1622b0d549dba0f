-- set_job_ids: a lead's job id, where it has none yet
update leads_task_list as t
set call_job_id = e.call_job_id, updated_at = now()
from jsonb_to_recordset(%(rows)s::jsonb) as e (reference_id text, call_job_id text)
where t.reference_id = e.reference_id and t.call_job_id = ''
