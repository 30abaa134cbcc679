drop table audit.entry_by_event, audit.entry;
drop function audit.index_at(timestamptz);
drop function audit.ensure_partition(bigint);
drop function audit.admit_entries();
drop function audit.refuse_change();
drop schema audit;
