-- What one look at a task leaves to the next, and how far the audits have walked through the rows.

alter table call_tasks add column poll_standing jsonb not null default '{}';

create table audit_walks (
    name                   text        primary key,
    position               bigint      not null default 0,        -- rows up to this id were audited in this round
    walked_at              timestamptz not null default '-infinity'
);
