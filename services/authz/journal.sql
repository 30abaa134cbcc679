-- What writes the log of changes and the tables that follow from it. In `make` and `project`, {table}, {identity} and
-- {assignments} are filled for each noun from services/authz/nouns.py; each of them is prepared in a test. A record is asked
-- for once and whole: `(f(x)).*` would make it anew for every column, twenty times as slow.

-- name: append_events
-- Appends events of one author to the log of changes, in the order of their revisions.
insert into authz.event (occurred_at, credential_id, request_id, revision, event_id, kind, space_id, entity_type,
    entity_id, before, after, reason)
select $1, $2, $3, e.*
from unnest($4::bigint[], $5::uuid[], $6::text[], $7::text[], $8::text[], $9::text[], $10::jsonb[], $11::jsonb[],
    $12::text[]) e;

-- name: make
-- Writes the new rows of a noun as their first events left them.
insert into {table} select * from jsonb_populate_recordset(null::{table}, $1::jsonb);

-- name: project
-- Writes rows of a noun as later events left them, and tells of each whether it was not there: one that was updated has
-- the updating transaction in its xmax.
insert into {table} as t
select * from jsonb_populate_recordset(null::{table}, $1::jsonb)
on conflict ({identity}) do update set
    {assignments}
returning {identity}, (t.xmax = 0) as is_new;

-- name: move_below
-- Lets the paths below a moved group follow it: $2 is the path that it had, $3 the one that it has.
update authz.group g set
    path = $3 || substr(g.path, length($2) + 1),
    revision = $4,
    updated_at = $5
where g.space_id = $1 and starts_with(g.path, $2 || '.');

-- name: defer_checks
-- Lets the paths of a subtree be checked when all of them are rewritten.
set constraints all deferred;
