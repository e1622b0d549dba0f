-- analyzed_since: of a task's finished jobs, how many have a follow-up newer than an instant, how many there are, and
-- how many of the newer ones say that they could not be analysed
select
    count(*) filter (where f.updated_at >= %(since)s),
    count(*),
    count(*) filter (
        where f.updated_at >= %(since)s
        and (
            starts_with(f.analyzer, 'unavailable/')
            or starts_with(f.analyzer, 'unusable/')
            or starts_with(f.analyzer, 'refused/')
        )
    )
from leads_task_list as l
left join leads_follow as f using (call_job_id)
where
    l.task_id = %(task_id)s and l.call_status in ('Succeeded', 'Failed')
    and (%(jobs)s::text[] is null or l.call_job_id = any(%(jobs)s::text[]))
