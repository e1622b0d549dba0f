-- assign_mark: a chunk about to be sent, its places on the task's pages, and the doubt that holds should nobody return
with held as (
    update call_tasks
    set
        next_ordinal = next_ordinal + cardinality(%(references)s::text[]),
        assign_leased_until = clock_timestamp() + make_interval(secs => %(seconds)s),
        assign_doubt_until = clock_timestamp() + %(certainty)s
    where
        task_id = %(task_id)s and assign_leased_by = %(lease)s and assign_leased_until > clock_timestamp()
        and state in ('starting', 'calling') and pending_order is null
        and assign_doubt_until is not distinct from %(doubt_until)s
    returning next_ordinal - cardinality(%(references)s::text[]) as first_ordinal, assign_doubt_until
),
placed as (
    select r.reference_id, (held.first_ordinal + r.place - 1)::integer / 99 as page
    from held, unnest(%(references)s::text[]) with ordinality as r (reference_id, place)
),
marked as (
    update leads_task_list as l
    set
        assign_marked_at = clock_timestamp(),
        page = coalesce(l.page, placed.page),
        assign_refused = null,
        assign_contact = null,
        assign_taken_at = null
    from placed
    where l.reference_id = placed.reference_id and l.task_id = %(task_id)s and l.call_job_id = ''
    returning l.reference_id
)
select assign_doubt_until, array(select reference_id from marked) from held
