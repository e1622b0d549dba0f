-- audit_begin: a walk that nobody made yet begins at the first row
insert into audit_walks (name) values (%(name)s) on conflict do nothing
