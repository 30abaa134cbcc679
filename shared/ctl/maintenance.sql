-- The switch of authz's maintenance, as its owner. Parameters are psycopg's.

-- name: lock_maintenance
-- Makes this transaction the only one that switches until it ends.
select pg_advisory_xact_lock(hashtext('plystra.authz.maintenance'));

-- name: knows_maintenance
-- Tells whether the schema is one that has the switch.
select to_regclass('authz.maintenance') is not null;

-- name: switch_maintenance
-- Records a switch.
insert into authz.maintenance (is_on, operator, reason, retry_after_seconds)
values (%(is_on)s, %(operator)s, %(reason)s, %(retry_after_seconds)s);

-- name: list_switches
-- Returns the last switches, newest first.
select is_on, switched_at, operator, session_role, reason, retry_after_seconds
from authz.maintenance order by switch_id desc limit %(limit)s;

-- name: find_beginning
-- Returns when the maintenance that is on was switched on, null when none is.
select min(switched_at) from authz.maintenance
where switch_id > coalesce((select max(switch_id) from authz.maintenance where not is_on), 0);
