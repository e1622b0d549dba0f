-- lead_rows: every row of a lead, locked, and whether somebody may be calling, or about to call, the person
select
    task_id, reference_id, call_job_id,
    (call_job_id = '' and assign_marked_at is not null)
    or (call_job_id <> '' and coalesce(call_status, '') not in ('Succeeded', 'Failed', 'Cancelled', 'NotExist')) as is_open
from leads_task_list
where leads_id = %(leads_id)s
order by id
for update
