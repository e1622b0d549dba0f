-- assign_leads: leads of a task without a job id, oldest first; those that nobody tries any more come last
select reference_id, leads_name, leads_phone, extras, assign_marked_at, contact, is_held, assign_taken_at
from leads_task_list,
    lateral (select md5(jsonb_build_array(leads_name, leads_phone, extras)::text) as contact) as now,
    lateral (select assign_refused is not null and assign_contact = now.contact as is_held) as past
where task_id = %(task_id)s and call_job_id = ''
order by is_held, id
limit %(limit)s
