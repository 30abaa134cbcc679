-- What a backup tells of a database, read in one snapshot. Parameters are psycopg's; {table} is a table's name.

-- name: settle_texts
-- Lets values be written the same way in every session, since their texts are hashed.
set timezone = 'UTC'; set datestyle = 'ISO, YMD'; set intervalstyle = 'postgres'; set bytea_output = 'hex';
set extra_float_digits = 1; set statement_timeout = 0;

-- name: export_snapshot
-- Lets other sessions read as of this transaction.
select pg_export_snapshot();

-- name: list_tables
-- Returns all tables that are nobody's partition; what a partition holds its parent shows.
select n.nspname, c.relname
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p') and not c.relispartition and c.relpersistence <> 't'
    and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname not like 'pg\_toast%%'
order by 1, 2;

-- name: hash_table
-- Returns the number of rows and the sums, lane by lane, of their SHA-256: memory stays flat, and no order matters.
select count(*), {lanes}
from (select encode(sha256(convert_to(t::text, 'UTF8')), 'hex') as h from {table} t) hashed;

-- name: read_migrations
-- Returns the migrations that are applied, in order.
select id, sha256 from public._migration_ledger where state = 'applied' order by ordinal;

-- name: read_revision
-- Returns the revision of authz's last event.
select coalesce(max(revision), 0) from authz.event;

-- name: read_written
-- Returns the last sequence of each writer of authz; what is delivered may be in the outbox no more.
select w.source, w.epoch, greatest(w.delivered_sequence, coalesce(max(o.last_sequence), -1))
from authz.outbox_writer w left join authz.outbox o using (writer_id)
group by w.writer_id order by 1, 2;

-- name: read_acknowledged
-- Returns how far audit has acknowledged what each writer of authz wrote.
select source, epoch, delivered_sequence from authz.outbox_writer order by 1, 2;

-- name: read_log
-- Returns the size of the log and when its last entry was recorded.
select count(*), max(recorded_at) from audit.entry;

-- name: read_producers
-- Returns the last sequence that the log has of each producer.
select source, epoch, max(sequence) from audit.entry group by 1, 2 order by 1, 2;

-- name: stream_leaf_hashes
-- Returns the leaf hashes of the log in order.
select leaf_hash from audit.entry order by log_index;

-- name: stream_log
-- Returns the log in order, with everything that is derived from the leaves.
select log_index, recorded_at, {columns} from audit.entry order by log_index;

-- name: find_unnamed
-- Returns an entry that its event's id doesn't lead to, if there is one, or an id that leads nowhere.
select coalesce(e.log_index, n.log_index)
from audit.entry e full join audit.entry_by_event n on n.event_id = e.event_id and n.log_index = e.log_index
where e.log_index is null or n.log_index is null
order by 1 limit 1;
