-- delete_leads: some rows, by reference
delete from leads_task_list where reference_id = any(%(references)s::text[])
