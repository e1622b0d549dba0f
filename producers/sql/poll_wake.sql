-- poll_wake: tasks that somebody started or resumed since their last look need not wait for it
update call_tasks
set poll_due_at = now()
where
    state in ('starting', 'calling')
    and updated_at > coalesce(observed_at, '-infinity')
    and poll_due_at > now() + %(shortest)s
    and poll_leased_by is null
