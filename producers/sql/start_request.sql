-- start_request: a task that is wanted to be started, as it was before; the row is locked
insert into call_tasks as t (task_id, state) values (%(task_id)s, null)
on conflict (task_id) do update set task_id = excluded.task_id
returning t.state, t.request_id, t.last_error, t.started_at
