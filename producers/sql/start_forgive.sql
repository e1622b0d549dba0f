-- start_forgive: who starts a task anew wants refused leads to be tried again; what the cloud said to have taken is not
update leads_task_list
set assign_refused = null, assign_contact = null
where task_id = %(task_id)s and call_job_id = '' and assign_refused is not null and assign_taken_at is null
