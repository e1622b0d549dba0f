-- Leads that the cloud does not have, and why; what the cloud has still to be told of a task.

alter table leads_task_list
    add column assign_refused         text,        -- why nobody tries to assign this lead any more
    add column assign_contact         text,        -- digest of the contact that this is about: another one is tried
    add column assign_taken_at        timestamptz; -- the cloud said that it took the lead, but did not list it

-- Few rows have a refusal, and status updates touch neither column: they stay HOT.
create index leads_task_list_refused on leads_task_list (task_id) where assign_refused is not null;

alter table call_tasks
    add column pending_order          text,        -- suspend, resume or cancel: until the cloud has certainly obeyed
    add column ordered_at             timestamptz; -- when the order was given; the same order later is another one

create or replace view call_task_progress as
select
    task_id,
    count(*) filter (where is_lead) as leads,
    count(*) filter (where is_lead and call_job_id = '') as unassigned,
    count(*) filter (
        where call_job_id <> ''
        and coalesce(call_status, '') not in ('Executing', 'Succeeded', 'Failed', 'Cancelled', 'NotExist')
    ) as waiting,
    count(*) filter (where call_job_id <> '' and call_status = 'Executing') as calling,
    count(*) filter (where call_status = 'Succeeded') as succeeded,
    count(*) filter (where call_status in ('Failed', 'NotExist')) as failed,
    count(*) filter (where call_status = 'Cancelled') as cancelled,
    count(*) filter (where is_interested = 1) as interested,
    count(*) filter (where is_interested = 2) as not_interested,
    count(*) filter (where recording_url is not null) as with_recording,
    max(updated_at) as last_update,
    count(*) filter (where call_job_id = '' and assign_refused is not null) as refused
from (
    select task_id, true as is_lead, call_job_id, call_status, is_interested, recording_url, updated_at, assign_refused
    from leads_task_list
    union all
    select task_id, false, '', null, null, null, updated_at, null
    from call_tasks
) as everything
group by task_id;
