-- start_has_marks: whether leads of a task were ever sent, so that there was a group
select exists (select from leads_task_list where task_id = %(task_id)s and assign_marked_at is not null)
