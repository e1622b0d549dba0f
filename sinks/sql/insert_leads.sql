-- insert_leads: one row per lead of a task; a repeat changes nothing
insert into leads_task_list (task_id, leads_id, leads_name, leads_phone, reference_id, call_time, extras)
select task_id, leads_id, leads_name, leads_phone, reference_id, coalesce(call_time, now()), coalesce(extras, '{}')
from jsonb_to_recordset(%(rows)s::jsonb) as e (
    task_id text, leads_id text, leads_name text, leads_phone text, reference_id text,
    call_time timestamptz, extras jsonb
)
on conflict do nothing
