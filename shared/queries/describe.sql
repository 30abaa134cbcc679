-- What is asked about a prepared statement: its types by name, and where its columns come from.

-- name: name_types
-- Returns the names of types, each with its modifier, in the order given.
select format_type(t.oid, t.modifier)
from unnest(%(oids)s::oid[], %(modifiers)s::integer[]) with ordinality as t (oid, modifier, n) order by t.n;

-- name: name_origins
-- Returns, for columns of tables given by table and number, their full name and whether they hold no null.
select n.nspname || '.' || c.relname || '.' || a.attname, a.attnotnull or y.typnotnull
from unnest(%(tables)s::oid[], %(numbers)s::smallint[]) with ordinality as g (attrelid, attnum, n)
left join (pg_attribute a
    join pg_class c on c.oid = a.attrelid
    join pg_namespace n on n.oid = c.relnamespace
    join pg_type y on y.oid = a.atttypid) on a.attrelid = g.attrelid and a.attnum = g.attnum
order by g.n;
