-- apply_statuses: the newest snapshot of each job, where it is newer than the row's; a recording stays with its attempt
update leads_task_list as t
set
    call_status = e.call_status,
    planed_time = e.planed_time,
    call_task_id = e.call_task_id,
    recording_url = case when t.call_task_id = e.call_task_id then t.recording_url end,
    recorded_at = case when t.call_task_id = e.call_task_id then t.recorded_at end,
    call_conversation = e.call_conversation,
    calling_number = e.calling_number,
    failure_reason = e.failure_reason,
    started_at = e.started_at,
    ended_at = e.ended_at,
    settled_at = case when e.is_terminal then coalesce(t.settled_at, clock_timestamp()) end,
    status_version = e.version,
    updated_at = now()
from unnest(
    %(call_job_id)b::text[], %(version)b::bigint[], %(call_status)b::text[], %(planed_time)b::timestamptz[],
    %(call_task_id)b::text[], %(call_conversation)b::jsonb[], %(calling_number)b::text[], %(failure_reason)b::text[],
    %(started_at)b::timestamptz[], %(ended_at)b::timestamptz[], %(is_terminal)b::boolean[]
) as e (
    call_job_id, version, call_status, planed_time, call_task_id, call_conversation, calling_number, failure_reason,
    started_at, ended_at, is_terminal
)
where t.call_job_id = e.call_job_id and t.call_job_id <> '' and t.status_version < e.version
