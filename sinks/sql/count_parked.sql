-- count_parked: how many records wait for their row
select count(*) from parked_records
