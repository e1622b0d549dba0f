-- crm_update_status: what a query of a call task showed of one job, as the CRM wrote it
update leads_task_list
set
    call_status = %(call_status)s,
    planed_time = %(planed_time)s,
    call_task_id = %(call_task_id)s,
    call_conversation = %(call_conversation)s,
    calling_number = %(calling_number)s,
    recording_url = null
where task_id = %(task_id)s and call_job_id = %(call_job_id)s
