-- What the doctor looks at. Every statement only reads, and any role that may look will do unless it says otherwise.
-- Parameters are psycopg's.

-- name: is_standby
-- Tells whether the server replays another's WAL.
select pg_is_in_recovery() as is_standby;

-- name: identify_database
-- Returns what tells this database from every other one.
select d.datname, d.oid::bigint, pg_postmaster_start_time() as started_at, inet_server_port() as port
from pg_database d where d.datname = current_database();

-- name: find_shut_out
-- Returns which of these roles may not connect to this database.
select r.rolname as role, current_database() as database
from pg_roles r
where r.rolname = any(%(roles)s) and not has_database_privilege(r.oid, current_database(), 'connect')
order by 1;

-- name: find_authz_key
-- Returns what authz stores of an API key; needs to be the owner.
select secret_hash, status, expires_at, permission_keys from authz.credential where credential_id = %(id)s;

-- name: find_audit_key
-- Returns what audit stores of an API key; needs to be the owner.
select secret_hash, status, expires_at, permission_keys from audit.credential where credential_id = %(id)s;

-- name: load_roles
-- Returns these roles with all that makes a role powerful.
select rolname as name, rolcanlogin as login, rolsuper as superuser, rolbypassrls as bypassrls,
    rolcreaterole as createrole, rolcreatedb as createdb, rolreplication as replication, rolconnlimit as connection_limit
from pg_roles where rolname = any(%(names)s);

-- name: list_memberships
-- Returns the roles that these roles are members of.
select m.rolname as member, r.rolname as role
from pg_auth_members a join pg_roles m on m.oid = a.member join pg_roles r on r.oid = a.roleid
where m.rolname = any(%(names)s)
order by 1, 2;

-- name: list_privileges
-- Returns what a role may do with each table of a schema, by whichever way it came to it.
select c.relname as table_name, p.privilege
from pg_class c
cross join unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) p (privilege)
where c.relnamespace = to_regnamespace(%(schema)s) and c.relkind in ('r', 'p', 'v', 'm')
    and has_table_privilege(%(grantee)s, c.oid, p.privilege);

-- name: list_tables
-- Returns the tables of a schema.
select c.relname as table_name from pg_class c
where c.relnamespace = to_regnamespace(%(schema)s) and c.relkind in ('r', 'p', 'v', 'm');

-- name: load_parameters
-- Returns these server parameters as this session has them, and where each comes from.
select name, setting, source from pg_settings where name = any(%(names)s);

-- name: count_connections
-- Returns how many sessions there may be and are, on the server and in this database.
select current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int as allowed,
    (select count(*) from pg_stat_activity where backend_type = 'client backend') as used,
    (select datconnlimit from pg_database where datname = current_database()) as database_limit,
    current_database() as database;

-- name: list_sessions
-- Returns the sessions of this database whose transaction began some time ago; only those whose state this role may see.
select pid, usename, application_name, state, extract(epoch from clock_timestamp() - xact_start)::float8 as seconds,
    extract(epoch from clock_timestamp() - state_change)::float8 as state_seconds
from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid() and xact_start is not null and state is not null
order by xact_start;

-- name: list_prepared
-- Returns the transactions of this database that were prepared and neither committed nor rolled back.
select gid, owner, extract(epoch from clock_timestamp() - prepared)::float8 as seconds
from pg_prepared_xacts where database = current_database() order by prepared;

-- name: list_idle_slots
-- Returns the replication slots that nobody reads and that make the server keep WAL.
select slot_name, wal_status, pg_wal_lsn_diff(
    case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end, restart_lsn)::bigint as bytes
from pg_replication_slots where not active and restart_lsn is not null order by 1;

-- name: read_transaction_age
-- Returns how many transactions ago rows of this database were last frozen.
select greatest(age(datfrozenxid), mxid_age(datminmxid)) as age from pg_database where datname = current_database();

-- name: list_invalid_indexes
-- Returns the indexes of a schema that a failed build left behind, or that are otherwise of no use.
select quote_ident(n.nspname) || '.' || quote_ident(c.relname) as name
from pg_index i join pg_class c on c.oid = i.indexrelid join pg_namespace n on n.oid = c.relnamespace
where n.nspname = %(schema)s and not (i.indisvalid and i.indisready and i.indislive) and c.relkind = 'i'
order by 1;

-- name: read_size
-- Returns how many bytes this database has.
select pg_database_size(current_database()) as bytes;

-- name: read_time
-- Returns the server's time.
select clock_timestamp() as now;

-- name: read_outbox
-- Returns how many events wait for delivery, and since how long the oldest.
select coalesce(sum(newest.last_sequence - w.delivered_sequence), 0)::bigint as events,
    coalesce(extract(epoch from clock_timestamp() - min(oldest.recorded_at)), 0)::float8 as seconds
from authz.outbox_writer w
cross join lateral (select o.last_sequence from authz.outbox o where o.writer_id = w.writer_id
                    order by o.first_sequence desc limit 1) newest
cross join lateral (select o.recorded_at from authz.outbox o
                    where o.writer_id = w.writer_id and o.first_sequence > w.delivered_sequence
                    order by o.first_sequence limit 1) oldest
where not w.drained and newest.last_sequence > w.delivered_sequence;

-- name: read_refused
-- Returns how many events audit has refused for good, and why the first of them.
select count(*) as events, (select r.problem from authz.outbox_refused r order by r.refused_at limit 1) as problem
from authz.outbox_refused;

-- name: read_relay
-- Returns what the relay notes of its deliveries.
select delivered_lag_ms, last_error, extract(epoch from clock_timestamp() - delivered_at)::float8 as seconds from authz.relay;

-- name: has_relay
-- Tells whether some session holds the lock of the one active relay.
select exists (
    select from pg_locks l
    where l.locktype = 'advisory' and l.granted and l.objsubid = 1
        and l.database = (select oid from pg_database where datname = current_database())
        and ((l.classid::bigint << 32) | l.objid::bigint) = hashtext('plystra.authz.relay')
) as found;

-- name: has_sequencer
-- Tells whether some session holds the lock of the one that writes the log.
select exists (
    select from pg_locks l
    where l.locktype = 'advisory' and l.granted and l.objsubid = 1
        and l.database = (select oid from pg_database where datname = current_database())
        and ((l.classid::bigint << 32) | l.objid::bigint) = hashtextextended('plystra.audit.sequencer', 0)
) as found;

-- name: read_log_tail
-- Returns the first and the last index of the newest entries, how many there are, and how many go back in time.
select min(log_index) as first, max(log_index) as last, count(*) as entries,
    count(*) filter (where recorded_at < before) as back_in_time
from (
    select log_index, recorded_at, lag(recorded_at) over (order by log_index) as before
    from (select e.log_index, e.recorded_at from audit.entry e order by e.log_index desc limit %(limit)s) newest
) tail;

-- name: read_authz_revision
-- Returns the revision of the last change of the permission graph.
select coalesce(max(revision), 0) as revision from authz.event;

-- name: read_audit_revision
-- Returns the highest revision that the newest entries of the log name.
select coalesce(max(revision), 0) as revision
from (select e.revision from audit.entry e order by e.log_index desc limit %(limit)s) newest;

-- name: read_maintenance
-- Returns the maintenance that is on, if one is.
select m.reason, m.operator, m.switched_at from authz.maintenance m
where m.is_on and m.switch_id = (select max(l.switch_id) from authz.maintenance l);
