-- apply_follow_ups: the newest analysis of each job, its row and its record together
with e as materialized (
    select *
    from jsonb_to_recordset(%(rows)s::jsonb) as e (
        call_job_id text, leads_follow_id text, version bigint, is_interested smallint, summary text, analyzer text,
        analyzed_at timestamptz
    )
),
followed as (
    update leads_task_list as t
    set
        leads_follow_id = e.leads_follow_id,
        is_interested = e.is_interested,
        follow_version = e.version,
        updated_at = now()
    from e
    where t.call_job_id = e.call_job_id and t.call_job_id <> '' and t.follow_version < e.version
    returning t.call_job_id, t.leads_id, t.task_id
)
insert into leads_follow (
    leads_follow_id, leads_id, task_id, call_job_id, summary, is_interested, analyzer, follow_time
)
select e.leads_follow_id, f.leads_id, f.task_id, f.call_job_id, e.summary, e.is_interested, e.analyzer, e.analyzed_at
from followed as f
join e using (call_job_id)
on conflict (call_job_id) do update
set
    leads_follow_id = excluded.leads_follow_id,
    leads_id = excluded.leads_id,
    task_id = excluded.task_id,
    summary = excluded.summary,
    is_interested = excluded.is_interested,
    analyzer = excluded.analyzer,
    follow_time = excluded.follow_time,
    updated_at = now()
