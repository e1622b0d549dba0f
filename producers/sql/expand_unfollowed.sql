-- expand_unfollowed: finished jobs of any task that should have a follow-up by now and have none; after `after`, by id
select
    id, task_id, call_job_id, call_status, call_conversation::text, status_version, follow_version
from leads_task_list
where
    leads_follow_id is null
    and id > %(after)s
    and call_job_id <> ''
    and call_status = any(%(statuses)s)
    and settled_at < now() - %(age)s
order by id
limit %(limit)s
