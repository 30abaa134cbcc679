-- The history of authz's permission graph against the tables that are made from it; {table} is authz.<noun>, {noun} its
-- text, {identity} what tells two of them apart within the events. Parameters are psycopg's.

-- name: count_events
-- Returns how many events there are, and the revision of the last.
select count(*) as events, coalesce(max(revision), 0) as revision from authz.event;

-- name: find_revision_gap
-- Returns the first event whose revision doesn't follow that of the event before it, and how many there are.
select revision, before_it, count(*) over () as total
from (select revision, lag(revision, 1, 0) over (order by revision) as before_it from authz.event) step
where revision <> before_it + 1
order by revision limit 1;

-- name: find_unknown_noun
-- Returns the first event of something that no table is made for, and how many there are.
select revision, entity_type, count(*) over () as total
from authz.event where entity_type <> all(%(nouns)s)
order by revision limit 1;

-- name: find_broken_history
-- Returns the first event of a noun that doesn't begin where the one before it left its row, and how many there are.
select revision, entity_id, kind, before, was, count(*) over () as total
from (select e.*, lag(e.after) over (partition by e.entity_id, {identity} order by e.revision) as was
      from authz.event e where e.entity_type = {noun}) step
where before is distinct from was
order by revision limit 1;

-- name: find_difference
-- Returns the first row that isn't what the last event of it says, both as JSON, and how many there are.
select coalesce(made ->> 'id', stored ->> 'id') as id, made, stored, revision, count(*) over () as total
from (
    select to_jsonb(replayed) as made, to_jsonb(live) as stored, history.revision
    from (select distinct on (e.entity_id, {identity}) e.revision, e.after
          from authz.event e where e.entity_type = {noun}
          order by e.entity_id, {identity}, e.revision desc) history
    cross join lateral jsonb_populate_record(null::{table}, history.after) replayed
    full join {table} live on {joined}
) both_sides
where made is distinct from stored
order by 1, revision limit 1;
