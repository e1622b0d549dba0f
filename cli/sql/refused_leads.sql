-- refused_leads: leads of a task that nobody tries to assign any more, and why; a corrected one is not among them
select leads_id, reference_id, assign_refused as reason
from leads_task_list
where task_id = %(task_id)s and call_job_id = '' and assign_refused is not null
order by id
