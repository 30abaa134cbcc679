-- What a replay of decisions reads: the first five from audit's database, the others from authz's, where it looks at the
-- history alone and at no table that is made from it. Parameters are psycopg's.

-- name: find_range
-- Returns the indexes of the first and the last decision recorded from one time until before another, either left open.
select min(e.log_index) as first, max(e.log_index) as last
from audit.entry e
where e.kind = 'decision.made'
    and e.log_index >= case when %(since)s::timestamptz is null then 0 else audit.index_at(%(since)s) end
    and e.log_index < case when %(until)s::timestamptz is null then 9223372036854775807 else audit.index_at(%(until)s) end;

-- name: count_decisions
-- Returns how many decisions a range has, counting no further than one beyond a number.
select count(*) as found from (
    select from audit.entry e
    where e.kind = 'decision.made' and e.log_index between %(first)s and %(last)s limit %(number)s + 1
) counted;

-- name: list_decisions
-- Returns all decisions of a range, in order.
select e.log_index, e.event_id::text, e.kind, e.leaf
from audit.entry e
where e.kind = 'decision.made' and e.log_index between %(first)s and %(last)s
order by e.log_index;

-- name: sample_decisions
-- Returns a number of decisions: the first of each of as many equal parts of a range, and further ones of each part, up to
-- ten, where other parts have none. No leaf is read but of what is returned.
select e.log_index, e.event_id::text, e.kind, e.leaf
from (
    select d.log_index
    from generate_series(0, %(number)s::bigint - 1) as part
    cross join lateral (
        select i.log_index, row_number() over (order by i.log_index) as turn
        from audit.entry i
        where i.kind = 'decision.made'
            and i.log_index >= %(first)s + (%(last)s - %(first)s + 1) * part / %(number)s
            and i.log_index < %(first)s + (%(last)s - %(first)s + 1) * (part + 1) / %(number)s
        order by i.log_index limit 10
    ) d
    order by d.turn, d.log_index limit %(number)s
) taken
join audit.entry e using (log_index)
order by e.log_index;

-- name: find_decision
-- Returns the event of an id, whatever its kind.
select e.log_index, e.event_id::text, e.kind, e.leaf
from audit.entry_by_event n join audit.entry e on e.log_index = n.log_index
where n.event_id = %(event_id)s;

-- name: measure_history
-- Returns the last revision, and how many events there are up to the one that is needed.
select coalesce(max(e.revision), 0) as last, count(*) filter (where e.revision <= %(highest)s) as events
from authz.event e;

-- name: find_grants
-- Returns the grants that were ever one of these members', with the roles and anchors that they ever had.
select distinct g.entity_id as member_role, g.after ->> 'role_id' as role,
    g.after ->> 'scope_anchor_group_id' as "group", g.space_id::text
from authz.event e join authz.event g on g.entity_type = 'member_role' and g.entity_id = e.entity_id
where e.entity_type = 'member_role' and (e.after ->> 'member_id') collate "C" = any(%(ids)s) and g.revision <= %(highest)s;

-- name: find_groups
-- Returns the groups that resources of these ids ever lay in.
select distinct e.after ->> 'group_id' as "group", e.space_id::text
from authz.event e
where e.entity_type = 'resource' and e.entity_id = any(%(ids)s) and e.revision <= %(highest)s;

-- name: find_holdings
-- Returns what these roles ever held, with the permissions that each ever was of.
select distinct h.entity_id as role_permission, h.after ->> 'permission_id' as permission, h.space_id::text
from authz.event e join authz.event h on h.entity_type = 'role_permission' and h.entity_id = e.entity_id
where e.entity_type = 'role_permission' and (e.after ->> 'role_id') collate "C" = any(%(ids)s) and h.revision <= %(highest)s;

-- name: walk_changes
-- Returns the events of these entities, of the registry, and of groups that moved within these Spaces, in order.
-- Wider than what is asked for: a group that moved takes all below it along, so every move in the Space is needed.
select e.revision, e.kind, e.entity_type, e.entity_id, e.before, e.after
from (
    select n.revision
    from unnest(%(nouns)s::text[], %(ids)s::text[]) as asked (noun, id)
    join authz.event n on n.entity_type = asked.noun and n.entity_id = asked.id
    union
    select r.revision from authz.event r where r.entity_type in ('resource_type', 'resource_action')
    union
    select m.revision from authz.event m
    where m.entity_type = 'group' and m.kind = 'group.moved' and m.space_id = any(%(spaces)s)
) bearing
join authz.event e using (revision)
where revision <= %(highest)s
order by revision;
