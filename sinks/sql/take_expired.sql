-- take_expired: parked records whose time is over; they leave the table for one last attempt
delete from parked_records
where id in (
    select id from parked_records where expires_at <= now() order by expires_at limit 500 for update skip locked
)
returning topic, partition, "offset", record_key, record_value, record_headers, expires_at
