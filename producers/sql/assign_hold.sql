-- assign_hold: leads that are not tried again while their contact stays as it was, and why
update leads_task_list as l
set
    assign_refused = %(reason)s,
    assign_contact = h.contact,
    assign_marked_at = case when %(is_taken)s then assign_marked_at end,  -- a refusal is clear: nobody was called
    assign_taken_at = case when %(is_taken)s then clock_timestamp() end,
    updated_at = now()
from unnest(%(references)s::text[], %(contacts)s::text[]) as h (reference_id, contact)
where l.reference_id = h.reference_id and l.task_id = %(task_id)s and l.call_job_id = ''
