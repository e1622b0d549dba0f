-- What the roles need in the database and no more: run once by the owner, after `callstream migrate`.
-- Then: create user somebody password '...' in role callstream_app;
-- They change no schema, delete no lead and truncate nothing; `migrate` and `lead forget` are run as the owner.
do $$
begin
    if not exists (select from pg_roles where rolname = 'callstream_app') then
        create role callstream_app nologin;
    end if;
end
$$;
grant usage on schema public to callstream_app;
grant select, insert, update on call_tasks, leads_task_list, leads_follow, audit_walks to callstream_app;
grant select, insert, update, delete on parked_records to callstream_app;
grant select on call_task_progress, _yoyo_migration to callstream_app;
