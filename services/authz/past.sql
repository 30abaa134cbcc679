-- Every statement of authz that reads what was true as of a revision. They read the log of changes (authz.event) and never
-- the tables that are made from it: a row is what its last event up to the revision left. Facts come back as JSON in the
-- shape that services/authz/store.py decodes. Each look-up goes through an index, which a test proves by EXPLAIN.
-- Where a row is found by what it held (a grant by its member), every event that ever said so names a row to look at, and
-- what the row's last event says decides.

-- name: find_revision
-- Returns when a revision was made, null when it is yet to come, beside the newest there is.
select
    (select coalesce(max(e.revision), 0) from authz.event e) as newest,
    (select e.occurred_at from authz.event e where e.revision = $1) as occurred_at;

-- name: find_revision_at
-- Returns the last revision that was made at a time or before it, 0 when there is none: times never run backwards.
select coalesce((
    select e.revision from authz.event e
    where e.occurred_at <= $1 order by e.occurred_at desc, e.revision desc limit 1
), 0) as revision;

-- name: load_actor
-- Returns an actor's facts and the grants of its member, as of the revision $5; an anchor's path is that of its own event.
select json_build_object(
    'user', (
        select json_build_object('email', r.after -> 'email', 'id', r.after -> 'id', 'status', r.after -> 'status')
        from (select e.after from authz.event e
              where e.entity_type = 'user' and e.entity_id = $1 and e.revision <= $5
              order by e.revision desc limit 1) r),
    'space', (
        select json_build_object('id', r.after -> 'id', 'name', r.after -> 'name', 'status', r.after -> 'status')
        from (select e.after from authz.event e
              where e.entity_type = 'space' and e.entity_id = $2 and e.revision <= $5
              order by e.revision desc limit 1) r),
    'member', (
        select json_build_object('display_name', r.after -> 'display_name', 'id', r.after -> 'id',
                                 'space_id', r.after -> 'space_id', 'status', r.after -> 'status')
        from (select e.after from authz.event e
              where e.entity_type = 'member' and e.entity_id = $3 and e.revision <= $5
              order by e.revision desc limit 1) r),
    'user_member', (
        select json_build_object('expires_at', r.after -> 'expires_at', 'id', r.after -> 'id',
                                 'member_id', r.after -> 'member_id', 'relation_type', r.after -> 'relation_type',
                                 'space_id', r.after -> 'space_id', 'status', r.after -> 'status',
                                 'user_id', r.after -> 'user_id')
        from (select e.after from authz.event e
              where e.entity_type = 'user_member' and e.entity_id = $4 and e.revision <= $5
              order by e.revision desc limit 1) r),
    'grants', (
        select coalesce(json_agg(json_build_object(
            'role_id', r.after -> 'role_id',
            'grant', json_build_object('expires_at', r.after -> 'expires_at', 'id', r.after -> 'id',
                                       'member_id', r.after -> 'member_id', 'not_before', r.after -> 'not_before',
                                       'space_id', r.after -> 'space_id', 'status', r.after -> 'status'),
            'anchor', (
                select json_build_object('id', g.after -> 'id', 'path', g.after -> 'path',
                                         'space_id', g.after -> 'space_id', 'status', g.after -> 'status')
                from (select e.after from authz.event e
                      where e.entity_type = 'group' and e.entity_id = r.after ->> 'scope_anchor_group_id'
                          and e.revision <= $5
                      order by e.revision desc limit 1) g))), '[]')
        from (select distinct e.entity_id from authz.event e
              where e.entity_type = 'member_role' and e.after ->> 'member_id' = $3::text collate "C"
                  and e.revision <= $5) granted
        cross join lateral (select e.after from authz.event e
                            where e.entity_type = 'member_role' and e.entity_id = granted.entity_id
                                and e.revision <= $5
                            order by e.revision desc limit 1) r
        where r.after ->> 'member_id' = $3 and r.after ->> 'status' = 'active')
)::text as facts;

-- name: load_roles
-- Returns, for each role asked for, the role and the active permissions that it held, as of the revision $2.
select
    asked.role_id::text,
    json_build_object(
        'role', json_build_object('id', r.after -> 'id', 'key', r.after -> 'key', 'space_id', r.after -> 'space_id',
                                  'status', r.after -> 'status'),
        'permissions', (
            select coalesce(json_agg(json_build_object(
                'action', p.after -> 'action', 'condition', p.after -> 'condition', 'id', p.after -> 'id',
                'resource_type', p.after -> 'resource_type', 'scope', p.after -> 'scope')), '[]')
            from (select distinct e.entity_id from authz.event e
                  where e.entity_type = 'role_permission' and e.after ->> 'role_id' = asked.role_id collate "C"
                      and e.revision <= $2) held
            cross join lateral (select e.after from authz.event e
                                where e.entity_type = 'role_permission' and e.entity_id = held.entity_id
                                    and e.revision <= $2
                                order by e.revision desc limit 1) h
            cross join lateral (select e.after from authz.event e
                                where e.entity_type = 'permission' and e.entity_id = h.after ->> 'permission_id'
                                    and e.revision <= $2
                                order by e.revision desc limit 1) p
            where h.after ->> 'role_id' = asked.role_id and h.after ->> 'status' = 'active'
                and p.after ->> 'status' = 'active')
    )::text as facts
from unnest($1::text[]) as asked (role_id)
cross join lateral (select e.after from authz.event e
                    where e.entity_type = 'role' and e.entity_id = asked.role_id and e.revision <= $2
                    order by e.revision desc limit 1) r;

-- name: load_resource
-- Returns a resource by type and id, and its group, as of the revision $3; the group's path is that of its own event.
select json_build_object(
    'resource', (
        select json_build_object(
            'external_id', r.after -> 'external_id', 'group_id', r.after -> 'group_id', 'id', r.after -> 'id',
            'owner_member_id', r.after -> 'owner_member_id', 'properties', r.after -> 'properties',
            'space_id', r.after -> 'space_id', 'status', r.after -> 'status', 'type', r.after -> 'resource_type')
        where r.after is not null),
    'group', (
        select json_build_object('id', g.after -> 'id', 'path', g.after -> 'path', 'space_id', g.after -> 'space_id',
                                 'status', g.after -> 'status')
        from (select e.after from authz.event e
              where e.entity_type = 'group' and e.entity_id = r.after ->> 'group_id' and e.revision <= $3
              order by e.revision desc limit 1) g)
)::text as facts
from (values (true)) as one
left join lateral (select e.after from authz.event e
                   where e.entity_type = 'resource' and e.entity_id = $2 and e.after ->> 'resource_type' = $1
                       and e.revision <= $3
                   order by e.revision desc limit 1) r on true;

-- name: load_registry
-- Returns the part of the Resource Registry that knows a type and an action of it, as of the revision $3.
select coalesce(json_object_agg(t.after ->> 'key', json_build_object(
    'resource_type', json_build_object('key', t.after -> 'key', 'status', t.after -> 'status'),
    'actions', (
        select coalesce(json_object_agg(a.after ->> 'key', json_build_object(
            'key', a.after -> 'key', 'risk_level', a.after -> 'risk_level', 'status', a.after -> 'status')), '{}')
        from (select distinct e.entity_id from authz.event e
              where e.entity_type = 'resource_action' and e.after ->> 'resource_type' = $1::text collate "C"
                  and e.after ->> 'key' = $2::text collate "C" and e.revision <= $3) named
        cross join lateral (select e.after from authz.event e
                            where e.entity_type = 'resource_action' and e.entity_id = named.entity_id
                                and e.revision <= $3
                            order by e.revision desc limit 1) a
        where a.after ->> 'resource_type' = $1 and a.after ->> 'key' = $2))), '{}')::text as facts
from (select distinct e.entity_id from authz.event e
      where e.entity_type = 'resource_type' and e.after ->> 'key' = $1::text collate "C" and e.revision <= $3) named
cross join lateral (select e.after from authz.event e
                    where e.entity_type = 'resource_type' and e.entity_id = named.entity_id and e.revision <= $3
                    order by e.revision desc limit 1) t
where t.after ->> 'key' = $1;

-- name: load_ancestors
-- Returns these groups and every group above them, each once, with its key and its parent, as of the revision $2.
with recursive above (id, key, parent_group_id) as (
    select asked.id, g.key, g.parent_group_id
    from unnest($1::text[]) as asked (id)
    cross join lateral (select e.after from authz.event e
                        where e.entity_type = 'group' and e.entity_id = asked.id and e.revision <= $2
                        order by e.revision desc limit 1) r
    cross join lateral jsonb_to_record(r.after) as g (key text, parent_group_id text)
    union
    select below.parent_group_id, g.key, g.parent_group_id
    from above below
    cross join lateral (select e.after from authz.event e
                        where e.entity_type = 'group' and e.entity_id = below.parent_group_id and e.revision <= $2
                        order by e.revision desc limit 1) r
    cross join lateral jsonb_to_record(r.after) as g (key text, parent_group_id text)
)
select id, key, parent_group_id from above;
