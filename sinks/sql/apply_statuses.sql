-- apply_statuses: the newest snapshot of each job, where it is newer than the row's
update leads_task_list as t
set
    call_status = e.call_status,
    planed_time = e.planed_time,
    call_task_id = e.call_task_id,
    call_conversation = e.call_conversation,
    calling_number = e.calling_number,
    failure_reason = e.failure_reason,
    started_at = e.started_at,
    ended_at = e.ended_at,
    settled_at = case when e.is_terminal then coalesce(t.settled_at, clock_timestamp()) end,
    status_version = e.version,
    updated_at = now()
from jsonb_to_recordset(%(rows)s::jsonb) as e (
    call_job_id text, version bigint, call_status text, planed_time timestamptz, call_task_id text,
    call_conversation jsonb, calling_number text, failure_reason text, started_at timestamptz, ended_at timestamptz,
    is_terminal boolean
)
where t.call_job_id = e.call_job_id and t.call_job_id <> '' and t.status_version < e.version
