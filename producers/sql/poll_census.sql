-- poll_census: a task's rows by whether they have a job and by status, and when the first of them ended lately
select
    call_job_id <> '' as has_job,
    call_status,
    count(*) as rows,
    min(settled_at) filter (where settled_at > %(settled_after)s) as first_settled_at,
    max(settled_at) as last_settled_at
from leads_task_list
where task_id = %(task_id)s and (call_job_id <> '' or assign_refused is null)
group by 1, 2
