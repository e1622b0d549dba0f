-- start_reopen: finished tasks that got leads since are started again
update call_tasks as t
set state = 'starting', assign_due_at = now(), updated_at = now()
where
    t.state = 'done'
    and exists (select from leads_task_list as l where l.task_id = t.task_id and l.call_job_id = '')
