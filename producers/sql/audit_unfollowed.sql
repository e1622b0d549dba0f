-- audit_unfollowed: finished jobs among these rows that should have a follow-up by now and lack it, or its record, or
-- have one that says, for less than a week, that nobody could analyse; without those asked about a moment ago
select
    l.id, l.task_id, l.call_job_id, l.call_status, l.call_conversation::text, l.status_version, l.follow_version
from leads_task_list as l
left join lateral (
    -- `offset 0` keeps this a lookup per row: a join would read all of leads_follow for each piece
    select leads_follow_id, analyzer, follow_time from leads_follow where call_job_id = l.call_job_id offset 0
) as f on true
where
    l.id > %(after)s and l.id <= %(upto)s
    and l.call_job_id <> ''
    and l.call_status = any(%(statuses)s)
    and l.settled_at < now() - %(age)s
    and (
        l.leads_follow_id is null
        or f.leads_follow_id is null
        or f.follow_time < now() - %(again)s::interval
        and l.settled_at > now() - interval '7 days'
        and (starts_with(f.analyzer, 'unavailable/') or starts_with(f.analyzer, 'unusable/'))
    )
    and l.call_job_id <> all(%(waiting)s)
order by l.id
limit %(limit)s
