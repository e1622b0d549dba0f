-- assign_leads: leads of a task without a job id, oldest first
select reference_id, leads_name, leads_phone, extras, assign_marked_at
from leads_task_list
where task_id = %(task_id)s and call_job_id = ''
order by id
limit %(limit)s
