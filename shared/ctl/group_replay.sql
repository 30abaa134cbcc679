-- The history of groups, in which one event moves a whole subtree. A row's place is what a move changes in the rows below:
-- path, revision and updated_at, as texts. Everything else is compared here. Parameters are psycopg's.

-- name: stream_group_events
-- Returns the events of groups in order: the place before and after, and whether the rest begins as the event before left it.
select revision, entity_id, kind, space_id, place_before, place_after, rest_before is not distinct from rest_left as follows
from (
    select
        e.revision, e.entity_id, e.kind, after.made ->> 'space_id' as space_id,
        array[before.made ->> 'path', before.made ->> 'revision', before.made ->> 'updated_at'] as place_before,
        array[after.made ->> 'path', after.made ->> 'revision', after.made ->> 'updated_at'] as place_after,
        before.made - '{path,revision,updated_at}'::text[] as rest_before,
        lag(after.made - '{path,revision,updated_at}'::text[]) over (partition by e.entity_id order by e.revision) as rest_left
    from authz.event e
    left join lateral (
        select to_jsonb(jsonb_populate_record(null::authz.group, e.before)) as made where e.before is not null
    ) before on true
    left join lateral (
        select to_jsonb(jsonb_populate_record(null::authz.group, e.after)) as made where e.after is not null
    ) after on true
    where e.entity_type = 'group'
) step
order by revision;

-- name: read_group_event
-- Returns the row that an event of a group begins with, and the one that the event before it of the same group left.
select
    (select to_jsonb(jsonb_populate_record(null::authz.group, e.before)) where e.before is not null) as before,
    (select to_jsonb(jsonb_populate_record(null::authz.group, p.after))
     from authz.event p
     where p.entity_type = 'group' and p.entity_id = e.entity_id and p.revision < e.revision
     order by p.revision desc limit 1) as was
from authz.event e where e.revision = %(revision)s;

-- name: find_group_difference
-- Returns the first group that isn't what its last event and the moves after it made, and how many there are.
select coalesce(made ->> 'id', stored ->> 'id') as id, made, stored, revision, count(*) over () as total
from (
    select to_jsonb(replayed) as made, to_jsonb(live) as stored, coalesce(moved.revision, history.revision) as revision
    from (select distinct on (e.entity_id) e.entity_id, e.revision, e.after
          from authz.event e where e.entity_type = 'group'
          order by e.entity_id, e.revision desc) history
    left join unnest(%(ids)s::text[], %(paths)s::text[], %(revisions)s::bigint[], %(times)s::text[])
        moved (id, path, revision, updated_at) on moved.id = history.entity_id
    cross join lateral jsonb_populate_record(
        null::authz.group,
        case when moved.id is null then history.after
             else history.after || jsonb_build_object(
                 'path', moved.path, 'revision', moved.revision, 'updated_at', moved.updated_at) end
    ) replayed
    full join authz.group live on live.id = replayed.id
) both_sides
where made is distinct from stored
order by 1, revision limit 1;
