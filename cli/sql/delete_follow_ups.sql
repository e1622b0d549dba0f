-- delete_follow_ups: the follow-up records of some jobs
delete from leads_follow where call_job_id = any(%(jobs)s::text[])
