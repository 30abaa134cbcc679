-- A world's rows, made in the database: the event of each and the row it leaves, as services/authz/commands.py writes them.
-- Parameters are psycopg's, written into the text: the fields of an Estate, and the numbers of the rows to make, first to last.

-- name: make_pick
-- Makes the function by which a world chooses; benchmarks/worlds.py has the same.
create or replace function pg_temp.pick(number bigint, salt bigint, among bigint) returns bigint
language sql immutable as $$ select mod(mod(number * 2654435761 + salt, 2147483647), among) $$;

-- name: lock_events
-- Makes this transaction the only one that appends events until it ends.
select pg_advisory_xact_lock(hashtext('plystra.authz.event'));

-- name: read_revision
-- Returns the revision of the last event, 0 before the first.
select coalesce(max(revision), 0) as revision from authz.event;

-- name: append
-- Appends the events that make a noun's rows.
insert into authz.event (revision, event_id, occurred_at, kind, space_id, entity_type, entity_id, after, request_id)
select
    %(revision)s + n - %(first)s,
    ('01900000-0000-7000-8000-' || lpad(to_hex(%(revision)s + n - %(first)s), 12, '0'))::uuid,
    %(stamp)s::timestamptz,
    %(kind)s,
    after ->> 'space_id',
    %(entity_type)s,
    after ->> 'id',
    after || jsonb_build_object(
        'created_at', %(stamp)s::text, 'updated_at', %(stamp)s::text, 'revision', %(revision)s + n - %(first)s,
        'metadata', '{{}}'::jsonb, 'status', 'active'),
    %(request_id)s
from ({images}) image;

-- name: project
-- Makes the rows of a noun as some events leave them.
insert into {table} select made.*
from authz.event e cross join lateral jsonb_populate_record(null::{table}, e.after) made
where e.revision between %(first)s and %(last)s;

-- name: register_changes_writer
-- Registers the writer of change events, unless there is one, with nothing to deliver below a revision.
insert into authz.outbox_writer (source, epoch, stream, delivered_sequence)
select %(source)s, %(epoch)s, 'changes', %(revision)s - 1
where not exists (select from authz.outbox_writer w where w.stream = 'changes');

-- name: count_undelivered
-- Returns how many changes up to a revision wait for delivery.
select coalesce(sum(greatest(0, %(revision)s - 1 - w.delivered_sequence)), 0)::bigint as waiting
from authz.outbox_writer w where w.stream = 'changes';

-- name: pass_over
-- Notes that nothing up to a revision is to be delivered: loaded events are not in the outbox.
update authz.outbox_writer set delivered_sequence = %(revision)s - 1 where stream = 'changes';

-- name: resource_type
-- Makes the images of types of resources.
select n, jsonb_build_object(
    'id', 'world_rt' || n, 'key', 'kind_' || n, 'display_name', 'Kind ' || n, 'description', null) as after
from generate_series(%(first)s, %(last)s) n;

-- name: resource_action
-- Makes the images of the actions of each type.
select n, jsonb_build_object(
    'id', 'world_ra' || n, 'resource_type', 'kind_' || n / cardinality(%(action_keys)s::text[]),
    'key', (%(action_keys)s::text[])[1 + mod(n, cardinality(%(action_keys)s::text[]))],
    'display_name', initcap((%(action_keys)s::text[])[1 + mod(n, cardinality(%(action_keys)s::text[]))]),
    'risk_level', (%(risks)s::text[])[1 + mod(n, cardinality(%(action_keys)s::text[]))]) as after
from generate_series(%(first)s::int, %(last)s::int) n;

-- name: permission
-- Makes the images of permissions: number 16 t + 4 a + s is that of type t, action a and scope s.
select n, jsonb_build_object(
    'id', 'world_p' || n, 'resource_type', 'kind_' || n / 16,
    'action', (%(action_keys)s::text[])[1 + mod(n / 4, 4)], 'scope', (%(scopes)s::text[])[1 + mod(n, 4)],
    'condition', null) as after
from generate_series(%(first)s::int, %(last)s::int) n;

-- name: user
-- Makes the images of an estate's users.
select n, jsonb_build_object(
    'id', %(key)s || '_u' || n, 'email', %(key)s || '_u' || n || '@world.example', 'display_name', 'User ' || n) as after
from generate_series(%(first)s, %(last)s) n;

-- name: space
-- Makes the images of an estate's Spaces.
select n, jsonb_build_object(
    'id', %(key)s || '_s' || n, 'key', %(key)s || '-' || n, 'name', 'Space ' || n) as after
from generate_series(%(first)s, %(last)s) n;

-- name: group
-- Makes the images of groups, the same tree in each Space.
select n, jsonb_build_object(
    'id', %(key)s || '_g' || n, 'space_id', %(key)s || '_s' || n / %(groups)s,
    'parent_group_id', case when tree.g > 0 then
        %(key)s || '_g' || n - tree.g + (tree.g - 1) / %(branching)s end,
    'key', 'g' || tree.g, 'name', 'Group ' || tree.g, 'path', tree.path) as after
from (
    with recursive tree (g, path) as (
        select 0::bigint, 'g0'
        union all
        select below, tree.path || '.g' || below
        from tree, generate_series(tree.g * %(branching)s + 1,
                                   least(tree.g * %(branching)s + %(branching)s, %(groups)s - 1)) below
    )
    select g, path from tree
) tree
join generate_series(%(first)s, %(last)s) n on mod(n, %(groups)s) = tree.g;

-- name: member
-- Makes the images of members, each Space's one after the other.
select n, jsonb_build_object(
    'id', %(key)s || '_m' || n, 'space_id', %(key)s || '_s' || n / %(members)s,
    'display_name', 'Member ' || n, 'member_type', 'person') as after
from generate_series(%(first)s, %(last)s) n;

-- name: user_member
-- Makes the images of bindings, one for each member.
select n, jsonb_build_object(
    'id', %(key)s || '_b' || n, 'space_id', %(key)s || '_s' || n / %(members)s,
    'user_id', %(key)s || '_u' || mod(n, %(users)s), 'member_id', %(key)s || '_m' || n, 'relation_type', 'assigned',
    'is_primary', false, 'expires_at', null, 'revoked_at', null, 'revoked_reason', null) as after
from generate_series(%(first)s, %(last)s) n;

-- name: role
-- Makes the images of roles, eight in each Space.
select n, jsonb_build_object(
    'id', %(key)s || '_r' || n, 'space_id', %(key)s || '_s' || n / 8, 'key', 'role_' || mod(n, 8),
    'name', 'Role ' || mod(n, 8), 'description', null) as after
from generate_series(%(first)s, %(last)s) n;

-- name: role_permission
-- Makes the images of what roles hold, eight permissions each.
select n, jsonb_build_object(
    'id', %(key)s || '_rp' || n, 'space_id', %(key)s || '_s' || n / 64, 'role_id', %(key)s || '_r' || n / 8,
    -- Of the type mod(n, 8) / 2, the action that is the first or the second of the role's, and the role's scope.
    'permission_id', 'world_p' || mod(n, 8) / 2 * 16 + (mod(n / 8, 8) / 4 * 2 + mod(n, 2)) * 4 + mod(n / 8, 4)) as after
from generate_series(%(first)s, %(last)s) n;

-- name: member_role
-- Makes the images of grants, each member's one after the other.
select n, jsonb_build_object(
    'id', %(key)s || '_mr' || n, 'space_id', %(key)s || '_s' || n / (%(members)s * %(grants)s),
    'member_id', %(key)s || '_m' || n / %(grants)s,
    'role_id', %(key)s || '_r' || n / (%(members)s * %(grants)s) * 8
        + (%(granted)s::bigint[])[1 + mod(pg_temp.pick(n / %(grants)s, %(role_salt)s, cardinality(%(granted)s::bigint[]))
                                          + mod(n, %(grants)s), cardinality(%(granted)s::bigint[]))],
    'scope_anchor_group_id', %(key)s || '_g' || n / (%(members)s * %(grants)s) * %(groups)s
        + pg_temp.pick(n, %(anchor_salt)s, %(anchors)s),
    'not_before', null, 'expires_at', null, 'revoked_at', null, 'revoked_reason', null) as after
from generate_series(%(first)s, %(last)s) n;

-- name: resource
-- Makes the images of resources, each Space's one after the other.
select n, jsonb_build_object(
    'id', %(key)s || '_x' || n, 'resource_type', 'kind_' || mod(n, 4), 'space_id', %(key)s || '_s' || n / %(resources)s,
    'external_id', null,
    'group_id', %(key)s || '_g' || n / %(resources)s * %(groups)s
        + %(groups)s - 1 - pg_temp.pick(n, %(home_salt)s, %(homes)s),
    'owner_member_id', %(key)s || '_m' || n / %(resources)s * %(members)s
        + pg_temp.pick(n, %(owner_salt)s, %(members)s),
    'display_name', 'Resource ' || n, 'properties', '{}'::jsonb) as after
from generate_series(%(first)s, %(last)s) n;
