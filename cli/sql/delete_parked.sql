-- delete_parked: what waits for some rows, by reference or by job
delete from parked_records where key = any(%(references)s::text[]) or key = any(%(jobs)s::text[])
