-- take_parked: parked records whose row has come in time, of the given keys or of any; they leave the table
delete from parked_records
where id in (
    select p.id
    from parked_records as p
    where
        p.expires_at > now()
        and (%(keys)s::text[] is null or p.key = any(%(keys)s::text[]))
        and case p.kind
            when 'assigned' then exists (select from leads_task_list as t where t.reference_id = p.key)
            when 'recorded' then exists (
                select from leads_task_list as t
                where
                    t.call_job_id = p.key and t.call_job_id <> ''
                    and (t.settled_at is not null or t.call_task_id = p.variant)
            )
            else exists (select from leads_task_list as t where t.call_job_id = p.key and t.call_job_id <> '')
        end
    order by p.id
    limit 1000
    for update skip locked
)
returning topic, partition, "offset", record_key, record_value, record_headers, expires_at
