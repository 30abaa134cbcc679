-- Bringing authz up to the changes that audit has of it: the first four are run on audit's database, the others on authz's.
-- Parameters are psycopg's; {table} is a noun's, {identity} tells its rows apart, {assignments} are all other columns.

-- name: find_last_change
-- Returns the revision of the last change that audit has, 0 when there is none.
select coalesce(max(revision), 0) from audit.entry where entity_type is not null and source = %(source)s;

-- name: find_last_decided
-- Returns the highest revision that a recorded decision was taken at, among the newest of them.
select coalesce(max(revision), 0) from (
    select revision from audit.entry where kind = 'decision.made' order by log_index desc limit 10000
) newest;

-- name: find_changes_at
-- Returns the ids of all changes that audit has of one revision.
select event_id::text from audit.entry
where entity_type is not null and source = %(source)s and revision = %(revision)s
order by log_index;

-- name: stream_changes
-- Returns the changes after a revision, in order.
select leaf, leaf_hash, log_index from audit.entry
where entity_type is not null and source = %(source)s and revision > %(after)s
order by revision, log_index;

-- name: lock_events
-- Makes this transaction the only one that appends events until it ends.
select pg_advisory_xact_lock(hashtext('plystra.authz.event'));

-- name: find_revision
-- Returns the revision of the last event, 0 before the first.
select coalesce(max(revision), 0) from authz.event;

-- name: find_event_at
-- Returns the id of the event of a revision; no row when there is none.
select event_id::text from authz.event where revision = %(revision)s;

-- name: list_columns
-- Returns the columns of a noun's table.
select attname from pg_attribute where attrelid = %(table)s::regclass and attnum > 0 and not attisdropped order by attnum;

-- name: row_follows
-- Tells whether the row of a change is as the change says that it was before; null stands for no row.
select (select to_jsonb(live) from {table} live where {located})
    is not distinct from
    (select to_jsonb(began) from jsonb_populate_record(null::{table}, %(before)s::jsonb) began
     where %(before)s::jsonb is not null);

-- name: project
-- Writes a row as a change left it.
insert into {table} as t select * from jsonb_populate_record(null::{table}, %(after)s::jsonb)
on conflict ({identity}) do update set {assignments};

-- name: move_below
-- Lets the paths below a moved group follow it.
update authz.group g set
    path = %(after)s || substr(g.path, length(%(before)s) + 1),
    revision = %(revision)s,
    updated_at = %(updated_at)s
where g.space_id = %(space_id)s and starts_with(g.path, %(before)s || '.');

-- name: append_event
-- Appends one event to the log of changes.
insert into authz.event (revision, event_id, occurred_at, kind, space_id, entity_type, entity_id, before, after,
    credential_id, request_id, reason)
values (%(revision)s, %(event_id)s, %(occurred_at)s, %(kind)s, %(space_id)s, %(entity_type)s, %(entity_id)s,
    %(before)s::jsonb, %(after)s::jsonb, %(credential_id)s, %(request_id)s, %(reason)s);

-- name: mark_delivered
-- Remembers that audit has what it was read from; the writer goes on with the same epoch, since its sequence is the revision.
insert into authz.outbox_writer (source, epoch, stream, delivered_sequence)
values (%(source)s, %(epoch)s, 'changes', %(sequence)s)
on conflict (source, epoch) do update
set delivered_sequence = greatest(outbox_writer.delivered_sequence, excluded.delivered_sequence);

-- name: find_writer
-- Returns the epoch of the one writer of changes, if there is one.
select epoch from authz.outbox_writer where stream = 'changes' order by writer_id limit 1;

-- name: notify_changes
-- Wakes every tail when this transaction commits.
select pg_notify('plystra_authz_event', %(revision)s::text);
