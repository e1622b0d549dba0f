-- finished_calls: how many of a task's calls have finished, and which of those named have not, or are not of the task
with finished as (
    select call_job_id from leads_task_list
    where task_id = %(task_id)s and call_job_id <> '' and call_status in ('Succeeded', 'Failed')
)
select
    (select count(*) from finished),
    array(select unnest(%(jobs)s::text[]) except select call_job_id from finished order by 1)
