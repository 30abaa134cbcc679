-- The bookkeeping of migrations. Parameters are psycopg's; statements with {} get identifiers put in.

-- name: create_ledger
-- Makes the ledger: one row a migration, with the hash of exactly the bytes that ran.
create table if not exists public._migration_ledger (
    id text primary key,
    ordinal integer not null unique,
    sha256 text not null check (sha256 ~ '^[0-9a-f]{64}$'),
    state text not null check (state in ('started', 'applied')),
    started_at timestamptz not null,
    applied_at timestamptz check ((applied_at is not null) = (state = 'applied')),
    applied_by text not null,
    tool_version text not null,
    schema_digest text
);

-- name: has_schema_digest
-- Tells whether the ledger has the column that earlier releases did not make.
select exists (
    select from pg_attribute
    where attrelid = 'public._migration_ledger'::regclass and attname = 'schema_digest' and not attisdropped
);

-- name: add_schema_digest
-- Gives a ledger of an earlier release the digest of the schema after each migration.
alter table public._migration_ledger add column if not exists schema_digest text;

-- name: grant_reading
-- Lets the service and its readers see the bookkeeping.
grant select on public._migration_ledger, public._yoyo_migration to {app}, {reader};

-- name: start_migration
-- Records that a migration has begun; one that was begun before and never finished begins anew.
insert into public._migration_ledger (id, ordinal, sha256, state, started_at, applied_by, tool_version)
values (%(id)s, %(ordinal)s, %(sha256)s, 'started', clock_timestamp(), session_user, %(tool_version)s)
on conflict (id) do update
set sha256 = excluded.sha256, started_at = excluded.started_at, applied_by = excluded.applied_by,
    tool_version = excluded.tool_version
where _migration_ledger.state = 'started';

-- name: finish_migration
-- Records that a migration has been applied, and what the schema then was.
update public._migration_ledger
set state = 'applied', applied_at = clock_timestamp(), schema_digest = %(schema_digest)s
where id = %(id)s and state = 'started';

-- name: record_hash
-- Records the hash of a file that was edited since it was applied, without another effect.
update public._migration_ledger set sha256 = %(sha256)s where id = %(id)s and sha256 <> %(sha256)s;

-- name: reopen_migration
-- Records that the undoing of a migration has begun: until it is done, the migration counts as interrupted.
update public._migration_ledger
set state = 'started', started_at = clock_timestamp(), applied_at = null, schema_digest = null
where id = %(id)s;

-- name: forget_migration
-- Takes a migration that was undone out of the ledger.
delete from public._migration_ledger where id = %(id)s;

-- name: identify_database
-- Returns which database this is among all there are: a copy of the files has the same system identifier, but no clone.
select system_identifier::text, database.oid::text, database.datname
from pg_control_system(), pg_database database
where database.datname = current_database();

-- name: load_ledger
-- Returns the ledger in order; one that an earlier release made has no schema_digest.
select id, ordinal, sha256, state, started_at, applied_at, applied_by, tool_version,
    to_jsonb(ledger) ->> 'schema_digest' as schema_digest
from public._migration_ledger ledger
order by ordinal;

-- name: load_failures
-- Returns of each migration that was begun and not finished how it failed last since then, if it is known; yoyo's log has it.
select distinct on (log.migration_id) log.migration_id, log.comment
from public._yoyo_log log
join public._migration_ledger ledger on ledger.id = log.migration_id
where ledger.state = 'started' and log.operation = 'fail' and log.created_at_utc >= ledger.started_at at time zone 'utc'
order by log.migration_id, log.created_at_utc desc;

-- name: may_read_log
-- Tells whether this user may read yoyo's log; the service and its readers may not.
select has_table_privilege('public._yoyo_log', 'select');

-- name: note_failure
-- Notes in yoyo's log how a migration failed that had to be left begun.
insert into public._yoyo_log (id, migration_hash, migration_id, operation, username, hostname, comment, created_at_utc)
values (
    gen_random_uuid()::text, %(hash)s, %(id)s, 'fail', left(session_user, 255), left(%(hostname)s, 255),
    left(%(cause)s, 255), clock_timestamp() at time zone 'utc'
);

-- name: load_marks
-- Returns what yoyo's own table says is applied.
select migration_id from public._yoyo_migration;

-- name: table_exists
-- Tells whether there is a table of that qualified name.
select to_regclass(%(name)s) is not null;

-- name: lock_service
-- Waits for the advisory lock of a service, for as long as lock_timeout allows.
select pg_advisory_lock(%(key)s);

-- name: unlock_service
-- Gives the advisory lock of a service back.
select pg_advisory_unlock(%(key)s);

-- name: find_lock_holder
-- Returns who holds the advisory lock of a service in this database.
select held.pid, session.usename, session.application_name, session.client_addr::text, session.backend_start::text
from pg_locks held
left join pg_stat_activity session using (pid)
where held.locktype = 'advisory' and held.granted and held.objsubid = 1
    and held.database = (select oid from pg_database where datname = current_database())
    and (held.classid::bigint << 32) | held.objid::bigint = %(key)s;

-- name: find_blockers
-- Returns the sessions that keep the session with this pid waiting.
select pid, usename, application_name, state, left(query, 80)
from pg_stat_activity
where pid = any(pg_blocking_pids(%(pid)s))
order by pid;

-- name: is_interrupted
-- Tells whether a migration was begun before and never finished.
select exists (select from public._migration_ledger where id = %(id)s and state = 'started');

-- name: find_indexes
-- Returns those of the named indexes that exist, valid or not.
select namespace.nspname, relation.relname
from pg_index index
join pg_class relation on relation.oid = index.indexrelid
join pg_namespace namespace on namespace.oid = relation.relnamespace
where namespace.nspname || '.' || relation.relname = any(%(names)s);

-- name: identify_transaction
-- Returns the current transaction and the role it runs as.
select pg_current_xact_id()::text, current_user;

-- name: set_session_setting
-- Sets a server parameter for the session.
select set_config(%(name)s, %(value)s, false);

-- name: set_transaction_setting
-- Sets a server parameter until the transaction ends.
select set_config(%(name)s, %(value)s, true);
