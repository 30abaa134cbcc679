-- What an upgrade looks at in a database; it works on the schema of every release.

-- name: count_waiting
-- Returns how many events of authz wait for delivery to audit.
select coalesce(sum(o.last_sequence - greatest(w.delivered_sequence, o.first_sequence - 1)), 0)::bigint
from authz.outbox o join authz.outbox_writer w using (writer_id)
where o.last_sequence > w.delivered_sequence;

-- name: table_exists
-- Tells whether there is a table of that name.
select to_regclass(%(name)s) is not null;

-- name: read_maintenance
-- Tells whether maintenance is on.
select coalesce((select is_on from authz.maintenance order by switch_id desc limit 1), false);
