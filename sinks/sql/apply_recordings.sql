-- apply_recordings: the newest recording of the attempt that the row shows
update leads_task_list as t
set recording_url = e.recording_url, recorded_at = e.recorded_at, updated_at = now()
from jsonb_to_recordset(%(rows)s::jsonb) as e (
    call_job_id text, call_task_id text, recording_url text, recorded_at timestamptz
)
where
    t.call_job_id = e.call_job_id and t.call_job_id <> ''
    and t.call_task_id = e.call_task_id
    and (t.recorded_at is null or t.recorded_at < e.recorded_at)
