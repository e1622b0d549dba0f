-- audit_unrecorded: answered calls among these rows that lack their recording; each in rounds 1, 2, 4, 8 and so on
with missing as (
    select id, call_job_id, call_task_id, extract(epoch from now() - settled_at) / extract(epoch from %(lap)s) as laps
    from leads_task_list
    where
        id > %(after)s and id <= %(upto)s
        and call_job_id <> ''
        and call_status = 'Succeeded'
        and call_task_id is not null
        and recording_url is null
        and settled_at < now() - %(lap)s
        and settled_at > now() - %(patience)s
)
select call_job_id, call_task_id
from missing
where floor(log(2, laps)) > floor(log(2, greatest(laps - 1, 0.5)))
order by id
limit %(limit)s
