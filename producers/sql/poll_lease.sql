-- poll_lease: take due tasks for a while and draw, for each, the next instant of its one clock
with due as materialized (
    select task_id
    from call_tasks
    where poll_due_at <= now() and (poll_leased_until is null or poll_leased_until < now())
    order by poll_due_at
    limit %(limit)s
    for update skip locked
)
update call_tasks as t
set
    poll_leased_by = %(owner)s,
    poll_leased_until = now() + %(lease)s,
    poll_due_at = now() + %(lease)s,
    observed_at = greatest(date_trunc('milliseconds', clock_timestamp()), t.observed_at + interval '1 ms')
from due
where t.task_id = due.task_id
returning
    t.task_id, t.job_group_id, t.state, t.observed_at, t.poll_standing::text as standing, t.repair_requested,
    t.poll_leased_by as owner, t.poll_due_at as due_at
