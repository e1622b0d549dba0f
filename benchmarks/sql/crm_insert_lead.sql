-- crm_insert_lead: one lead, as the CRM created a call task
insert into leads_task_list (task_id, leads_id, leads_name, leads_phone, reference_id)
values (%(task_id)s, %(leads_id)s, %(leads_name)s, %(leads_phone)s, %(reference_id)s)
