-- poll_rows: the jobs of a task to be listed: open ones, those that ended lately, all of them for a repair
select reference_id, call_job_id, status_version, call_status, page
from leads_task_list
where
    task_id = %(task_id)s
    and call_job_id <> ''
    and (
        %(everything)s
        or call_status is null
        or call_status <> all(%(ended)s)
        or (settled_at > %(settled_after)s and settled_at <= %(settled_until)s)
    )
order by page, id
