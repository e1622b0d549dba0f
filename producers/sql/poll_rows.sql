-- poll_rows: the jobs of a task to be listed: those that ended lately, and what the look asks for beside them
select reference_id, call_job_id, status_version, call_status, page
from leads_task_list
where
    task_id = %(task_id)s
    and call_job_id <> ''
    and (
        %(everything)s
        or (settled_at > %(settled_after)s and settled_at <= %(settled_until)s)
        or (call_job_id = any(%(named)s::text[]) and (settled_at is null or call_status = 'NotExist'))
        or (
            (call_status is null or call_status <> all(%(ended)s))
            and (%(open)s or (%(moved)s and (call_status is null or call_status = 'Executing')))
        )
    )
order by page, id
