-- Putting a backup back. Parameters are psycopg's.

-- name: may_create_databases
-- Tells whether this user may make databases.
select rolsuper or rolcreatedb from pg_roles where rolname = current_user;

-- name: database_exists
-- Tells whether there is a database of a name.
select exists (select from pg_database where datname = %(name)s);

-- name: list_sessions
-- Returns who else is connected to a database.
select pid, coalesce(usename, ''), coalesce(application_name, '')
from pg_stat_activity where datname = %(name)s and pid <> pg_backend_pid() and backend_type = 'client backend'
order by pid;

-- name: log_is_there
-- Tells whether the database has a log.
select to_regclass('audit.entry') is not null;

-- name: own_the_log
-- Asks to be the one session that writes the log, as audit's sequencer does.
select pg_try_advisory_lock(hashtextextended('plystra.audit.sequencer', 0));

-- name: read_head
-- Returns the index that the next entry gets, and the time that it mustn't be before.
select coalesce(max(log_index) + 1, 0), max(recorded_at), clock_timestamp() from audit.entry;

-- name: ensure_partition
-- Makes the partition that takes this index, unless it is there.
select audit.ensure_partition(%(index)s);

-- name: append_entry
-- Appends one entry to the log, whose triggers check it like any other.
insert into audit.entry (log_index, recorded_at, {columns}) values (%s, %s, {values});

-- name: list_schemas
-- Returns the names of the schemas, by which a service's database is known.
select nspname from pg_namespace;

-- name: lock_restore
-- Asks to be the one restore that takes the place of a database.
select pg_try_advisory_lock(hashtextextended('plystra.restore ' || %(name)s, 0));
