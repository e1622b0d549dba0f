-- audit_take: the next piece of the rows, by id, for whoever asks first; a whole round of pieces takes `lap`
with top as (
    select coalesce(max(id), 0) as id from leads_task_list
), walk as (
    select name, position
    from audit_walks
    where name = %(name)s and walked_at <= clock_timestamp() - %(pause)s::interval
    for update skip locked
), piece as (
    select
        walk.name,
        walk.position as after,
        walk.position + greatest(%(least)s, ceil(top.id * %(share)s))::bigint as upto,
        top.id as top
    from walk, top
)
update audit_walks as a
set position = case when piece.upto < piece.top then piece.upto else 0 end, walked_at = clock_timestamp()
from piece
where a.name = piece.name
returning piece.after, piece.upto
