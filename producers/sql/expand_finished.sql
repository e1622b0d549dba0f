-- expand_finished: finished jobs of a task, or those named, with what an analysis needs; after `after`, by id
select
    id, task_id, call_job_id, call_status, call_conversation::text, status_version, follow_version
from leads_task_list
where
    task_id = %(task_id)s
    and id > %(after)s
    and call_job_id <> ''
    and call_status = any(%(statuses)s)
    and (%(job_ids)s::text[] is null or call_job_id = any(%(job_ids)s))
order by id
limit %(limit)s
