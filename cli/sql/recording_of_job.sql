-- recording_of_job: the attempt whose recording a job has
select call_task_id from leads_task_list where call_job_id = %(call_job_id)s and call_job_id <> ''
