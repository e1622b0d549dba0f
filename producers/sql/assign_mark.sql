-- assign_mark: a chunk about to be sent, and its places on the task's pages; nothing where the lease is lost
with held as (
    update call_tasks
    set
        next_ordinal = next_ordinal + cardinality(%(references)s::text[]),
        assign_leased_until = now() + make_interval(secs => %(seconds)s)
    where
        task_id = %(task_id)s and assign_leased_by = %(lease)s and assign_leased_until > now()
        and state in ('starting', 'calling')
    returning next_ordinal - cardinality(%(references)s::text[]) as first_ordinal
),
placed as (
    select r.reference_id, (held.first_ordinal + r.place - 1)::integer / 99 as page
    from held, unnest(%(references)s::text[]) with ordinality as r (reference_id, place)
)
update leads_task_list as l
set assign_marked_at = clock_timestamp(), page = coalesce(l.page, placed.page)
from placed
where l.reference_id = placed.reference_id and l.task_id = %(task_id)s and l.call_job_id = ''
returning l.reference_id
