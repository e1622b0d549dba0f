-- The three tables that the world outside relies on, where records wait for their row, and the view of progress.
-- No index on leads_task_list names call_status: it would make every status update a non-HOT one, at half the rate.

create table call_tasks (
    task_id                text primary key,
    name                   text,
    job_group_id           text,
    state                  text,                                  -- null: leads are known, nobody started it
    last_error             text,
    request_id             text,                                  -- of the request that was taken last
    options                jsonb       not null default '{}',     -- what the start request asked for
    created_at             timestamptz not null default now(),
    started_at             timestamptz,
    updated_at             timestamptz not null default now(),
    -- starter: one lease per task, doubt after an unclear answer, the next place on a page
    assign_due_at          timestamptz,
    assign_leased_by       text,
    assign_leased_until    timestamptz,
    assign_doubt_until     timestamptz,
    next_ordinal           integer     not null default 0,
    -- poller: one lease per task, the one clock of its observations, what is asked for
    poll_due_at            timestamptz not null default now(),
    poll_leased_by         text,
    poll_leased_until      timestamptz,
    observed_at            timestamptz,
    listed_at              timestamptz,                           -- last listing of all open jobs
    repair_requested       boolean     not null default false
);
create index call_tasks_poll_due on call_tasks (poll_due_at);
create index call_tasks_assign_due on call_tasks (assign_due_at) where assign_due_at is not null;

create table leads_task_list (
    id                     bigint generated always as identity primary key,
    task_id                text        not null,
    leads_id               text        not null,
    leads_name             text        not null,
    leads_phone            text        not null,
    call_time              timestamptz not null default now(),
    call_job_id            text        not null default '',       -- '' until the cloud took the lead
    call_status            text,
    planed_time            timestamptz,
    call_task_id           text,
    call_conversation      jsonb,
    calling_number         text,
    recording_url          text,
    leads_follow_id        text,
    is_interested          smallint,
    reference_id           text        not null unique,
    extras                 jsonb       not null default '{}',
    failure_reason         text,
    started_at             timestamptz,
    ended_at               timestamptz,
    settled_at             timestamptz,                           -- when this row first showed that its call had ended
    recorded_at            timestamptz,
    status_version         bigint      not null default 0,
    follow_version         bigint      not null default 0,
    page                   integer,                               -- for life, given when marked for assignment
    assign_marked_at       timestamptz,
    created_at             timestamptz not null default now(),
    updated_at             timestamptz not null default now(),
    unique (task_id, leads_id)
) with (fillfactor = 60);
create index leads_task_list_task on leads_task_list (task_id);
create unique index leads_task_list_call_job on leads_task_list (call_job_id) where call_job_id <> '';
create index leads_task_list_leads on leads_task_list (leads_id);
create index leads_task_list_leads_follow on leads_task_list (leads_follow_id);

create table leads_follow (
    leads_follow_id        text primary key,
    leads_id               text        not null,
    task_id                text        not null,
    call_job_id            text        not null unique,
    summary                text        not null,
    is_interested          smallint    not null,
    analyzer               text        not null,
    follow_time            timestamptz not null,
    updated_at             timestamptz not null default now()
);

create table parked_records (
    id                     bigint generated always as identity primary key,
    kind                   text        not null,                  -- assigned, status, recorded, followed_up
    key                    text        not null,                  -- reference_id of an assignment, else call_job_id
    variant                text        not null default '',       -- job id of an assignment, attempt of a recording
    version                bigint      not null,
    topic                  text        not null,
    partition              integer     not null,
    "offset"               bigint      not null,
    record_key             bytea,
    record_value           bytea       not null,
    record_headers         bytea       not null,                  -- JSON: [[name, base64], ...]
    parked_at              timestamptz not null default now(),
    expires_at             timestamptz not null,
    unique (kind, key, variant)
);
create index parked_records_expiry on parked_records (expires_at);

create view call_task_progress as
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
    max(updated_at) as last_update
from (
    select task_id, true as is_lead, call_job_id, call_status, is_interested, recording_url, updated_at
    from leads_task_list
    union all
    select task_id, false, '', null, null, null, updated_at
    from call_tasks
) as everything
group by task_id;
