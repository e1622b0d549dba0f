-- crm_set_job_id: one lead's job id, as the CRM started a call task
update leads_task_list
set call_job_id = %(call_job_id)s
where reference_id = %(reference_id)s
