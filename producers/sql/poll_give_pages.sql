-- poll_give_pages: a place on a page, for life, for each job of a task that somebody else assigned
with homeless as (
    select id, row_number() over (order by id) - 1 as place
    from leads_task_list
    where task_id = %(task_id)s and call_job_id <> '' and page is null
), taken as (
    update call_tasks
    set next_ordinal = next_ordinal + (select count(*) from homeless)
    where task_id = %(task_id)s
    returning next_ordinal - (select count(*) from homeless) as first
)
update leads_task_list as t
set page = (taken.first + homeless.place) / %(page_size)s
from homeless, taken
where t.id = homeless.id and t.page is null
