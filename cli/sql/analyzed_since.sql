-- analyzed_since: how many of a task's finished jobs have a follow-up newer than an instant, and how many there are
select count(*) filter (where f.updated_at >= %(since)s), count(*)
from leads_task_list as l
left join leads_follow as f using (call_job_id)
where
    l.task_id = %(task_id)s and l.call_status in ('Succeeded', 'Failed')
    and (%(jobs)s::text[] is null or l.call_job_id = any(%(jobs)s::text[]))
