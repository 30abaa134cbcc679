-- Every statement of authz. Each is named, says in one sentence what it does, and is prepared in a test.
-- Facts come back as JSON in exactly the shape of services/authz/model.py, beside the revision of the very snapshot
-- that they were read from.

-- name: load_actors
-- Returns, for each actor asked for, its facts and the grants of its member.
select
    asked.user_id::text,
    asked.space_id::text,
    asked.member_id::text,
    asked.user_member_id::text,
    (select coalesce(max(e.revision), 0) from authz.event e) as revision,
    json_build_object(
        'user', (select json_build_object('email', u.email, 'id', u.id, 'status', u.status)
                 from authz.user u where u.id = asked.user_id),
        'space', (select json_build_object('id', s.id, 'name', s.name, 'status', s.status)
                  from authz.space s where s.id = asked.space_id),
        'member', (select json_build_object('display_name', m.display_name, 'id', m.id, 'space_id', m.space_id,
                                            'status', m.status)
                   from authz.member m where m.id = asked.member_id),
        'user_member', (select json_build_object('expires_at', b.expires_at, 'id', b.id, 'member_id', b.member_id,
                                                 'relation_type', b.relation_type, 'space_id', b.space_id,
                                                 'status', b.status, 'user_id', b.user_id)
                        from authz.user_member b where b.id = asked.user_member_id),
        'grants', (select coalesce(json_agg(json_build_object(
                       'role_id', r.role_id,
                       'grant', json_build_object('expires_at', r.expires_at, 'id', r.id, 'member_id', r.member_id,
                                                  'not_before', r.not_before, 'space_id', r.space_id,
                                                  'status', r.status),
                       'anchor', (select json_build_object('id', g.id, 'path', g.path, 'space_id', g.space_id,
                                                           'status', g.status)
                                  from authz.group g where g.id = r.scope_anchor_group_id))), '[]')
                   from authz.member_role r where r.member_id = asked.member_id and r.status = 'active')
    )::text as facts
from unnest($1::text[], $2::text[], $3::text[], $4::text[]) as asked (user_id, space_id, member_id, user_member_id);

-- name: load_roles
-- Returns, for each role asked for, the role and the active permissions that it holds.
select
    asked.role_id::text,
    (select coalesce(max(e.revision), 0) from authz.event e) as revision,
    json_build_object(
        'role', json_build_object('id', r.id, 'key', r.key, 'space_id', r.space_id, 'status', r.status),
        'permissions', (select coalesce(json_agg(json_build_object(
                            'action', p.action, 'condition', p.condition, 'id', p.id,
                            'resource_type', p.resource_type, 'scope', p.scope)), '[]')
                        from authz.role_permission h join authz.permission p on p.id = h.permission_id
                        where h.role_id = r.id and h.status = 'active' and p.status = 'active')
    )::text as facts
from unnest($1::text[]) as asked (role_id) join authz.role r on r.id = asked.role_id;

-- name: load_resources
-- Returns, for each resource asked for, the resource and its group.
select
    asked.resource_type::text,
    asked.id::text,
    (select coalesce(max(e.revision), 0) from authz.event e) as revision,
    json_build_object(
        'resource', (select json_build_object(
                         'external_id', r.external_id, 'group_id', r.group_id, 'id', r.id,
                         'owner_member_id', r.owner_member_id, 'properties', r.properties, 'space_id', r.space_id,
                         'status', r.status, 'type', r.resource_type)
                     from authz.resource r where r.resource_type = asked.resource_type and r.id = asked.id),
        'group', (select json_build_object('id', g.id, 'path', g.path, 'space_id', g.space_id, 'status', g.status)
                  from authz.resource r join authz.group g on g.id = r.group_id
                  where r.resource_type = asked.resource_type and r.id = asked.id)
    )::text as facts
from unnest($1::text[], $2::text[]) as asked (resource_type, id);

-- name: load_registry
-- Returns the whole Resource Registry: types by key, and their actions.
select
    (select coalesce(max(e.revision), 0) from authz.event e) as revision,
    (select coalesce(json_object_agg(t.key, json_build_object(
        'resource_type', json_build_object('key', t.key, 'status', t.status),
        'actions', (select coalesce(json_object_agg(a.key, json_build_object(
                        'key', a.key, 'risk_level', a.risk_level, 'status', a.status)), '{}')
                    from authz.resource_action a where a.resource_type = t.key))), '{}')
     from authz.resource_type t)::text as facts;

-- name: read_revision
-- Returns the revision of the last event, 0 before the first.
select coalesce(max(revision), 0) as revision from authz.event;

-- name: read_changes_after
-- Returns what each event after a revision touched, in order.
select revision, entity_type, entity_id, space_id::text,
    coalesce(after ->> 'member_id', before ->> 'member_id') as member_id,
    coalesce(after ->> 'resource_type', before ->> 'resource_type') as resource_type
from authz.event where revision > $1 order by revision limit $2;

-- name: lock_events
-- Makes this transaction the only one that appends events until it ends.
select pg_advisory_xact_lock(hashtext('plystra.authz.event'));

-- name: append_event
-- Appends one event to the log of changes.
insert into authz.event (revision, event_id, occurred_at, kind, space_id, entity_type, entity_id, before, after,
    credential_id, request_id, reason)
values ($1, $2, $3, $4, $5, $6, $7, $8::jsonb, $9::jsonb, $10, $11, $12);

-- name: check_deferred
-- Checks now what would otherwise be checked at the commit.
set constraints all immediate;

-- name: notify_changes
-- Wakes every tail when this transaction commits.
select pg_notify('plystra_authz_event', $1::text);

-- name: find_changes_writer
-- Returns the one writer of change events, if it was registered already.
select writer_id, source, epoch from authz.outbox_writer where stream = 'changes' order by writer_id limit 1;

-- name: register_writer
-- Registers a writer of events under its source and epoch.
insert into authz.outbox_writer (source, epoch, stream) values ($1, $2, $3) returning writer_id;

-- name: hold_writer
-- Marks this session as the living writer, for as long as it lasts.
select pg_advisory_lock(hashtext('plystra.authz.outbox_writer'), $1::int);

-- name: record_events
-- Puts the events of one commit into the outbox.
insert into authz.outbox (slot, writer_id, first_sequence, last_sequence, traceparents, events)
select r.slot, $1, $2, $3, $4, $5 from authz.outbox_rotation r;

-- name: read_backlog
-- Returns, for each writer with undelivered events, how many there are and since when the oldest waits.
select w.writer_id, w.source, newest.last_sequence - w.delivered_sequence as waiting, oldest.recorded_at as oldest_at
from authz.outbox_writer w
cross join lateral (select o.last_sequence from authz.outbox o where o.writer_id = w.writer_id
                    order by o.first_sequence desc limit 1) newest
cross join lateral (select o.recorded_at from authz.outbox o
                    where o.writer_id = w.writer_id and o.first_sequence > w.delivered_sequence
                    order by o.first_sequence limit 1) oldest
where not w.drained and newest.last_sequence > w.delivered_sequence;

-- name: read_relay
-- Returns what the relay last did, and how many events audit has refused for good.
select instance, seen_at, delivered_at, delivered_lag_ms, last_error, last_error_at,
    (select count(*) from authz.outbox_refused) as refused
from authz.relay;

-- name: lead_relay
-- Tries to become the one active relay, for as long as this session lasts.
select pg_try_advisory_lock(hashtext('plystra.authz.relay')) as leads;

-- name: read_undelivered
-- Returns the next undelivered commits of every writer, each writer's in order, up to a number of bytes and of events.
-- Across writers the time decides, but never against a writer's own order: a clock that was set back must not let a later
-- commit pass an earlier one, since what is delivered is marked by the highest sequence.
select writer_id, first_sequence, last_sequence, recorded_at, traceparents, events
from (
    select due.*,
        sum(octet_length(due.events) + 1) over taken as bytes,
        sum(due.last_sequence - due.first_sequence + 1) over taken as count
    from (
        select o.*, max(o.recorded_at) over (partition by o.writer_id order by o.first_sequence) as due_at
        from authz.outbox_writer w
        cross join lateral (select * from authz.outbox o
                            where o.writer_id = w.writer_id and o.first_sequence > w.delivered_sequence
                            order by o.first_sequence limit 500) o
        where not w.drained
    ) due
    window taken as (order by due.due_at, due.writer_id, due.first_sequence)
) next
where (bytes <= $1 and count <= $2)
order by due_at, writer_id, first_sequence;

-- name: mark_delivered
-- Remembers how far each writer's events are known to be in audit.
update authz.outbox_writer w set delivered_sequence = d.sequence
from unnest($1::bigint[], $2::bigint[]) as d (writer_id, sequence)
where w.writer_id = d.writer_id and w.delivered_sequence < d.sequence;

-- name: mark_drained
-- Sets aside the writers whose process has ended and whose every event is delivered.
update authz.outbox_writer w set drained = true
where not w.drained and w.stream = 'decisions'
    and w.writer_id = any($1::bigint[])
    and not exists (select from authz.outbox o
                    where o.writer_id = w.writer_id and o.first_sequence > w.delivered_sequence);

-- name: find_ended_writers
-- Returns the writers of decisions that no living session holds.
select w.writer_id from authz.outbox_writer w
where not w.drained and w.stream = 'decisions'
    and not exists (select from pg_locks l
                    where l.locktype = 'advisory' and l.database = (select oid from pg_database where datname = current_database())
                        and l.classid = (hashtext('plystra.authz.outbox_writer')::bigint & 4294967295)::oid
                        and l.objid = w.writer_id::oid and l.objsubid = 2);

-- name: note_relay_seen
-- Notes that the relay is at work, and what it delivered last.
update authz.relay set instance = $1, seen_at = clock_timestamp(),
    delivered_at = coalesce($2, delivered_at), delivered_lag_ms = coalesce($3, delivered_lag_ms);

-- name: note_relay_error
-- Notes why the relay cannot deliver at present; null when it can again.
update authz.relay set last_error = $1, last_error_at = clock_timestamp();

-- name: refuse_event
-- Sets aside an event that audit will never take.
insert into authz.outbox_refused (writer_id, sequence, problem, event) values ($1, $2, $3, $4)
on conflict do nothing;

-- name: reclaim_outbox
-- Drops delivered commits, whole slots at a time.
select authz.reclaim_outbox() as emptied;

-- name: find_credential
-- Returns one API key.
select credential_id, expires_at, name, permission_keys, secret_hash, status
from authz.credential where credential_id = $1;

-- name: read_migrations
-- Returns the migrations that are applied, in order.
select id from public._migration_ledger where state = 'applied' order by ordinal;

-- The projections: each row is the `after` of its last event, so that replaying the events makes the same tables.
-- Each statement tells whether it made the row: one that was updated has the updating transaction in its xmax.

-- name: project_user
-- Writes a user as an event left it.
insert into authz.user select (jsonb_populate_record(null::authz.user, $1::jsonb)).*
on conflict (id) do update set
    email = excluded.email,
    display_name = excluded.display_name,
    status = excluded.status,
    metadata = excluded.metadata,
    created_at = excluded.created_at,
    updated_at = excluded.updated_at,
    revision = excluded.revision
returning (xmax = 0) as is_new;

-- name: project_space
-- Writes a space as an event left it.
insert into authz.space select (jsonb_populate_record(null::authz.space, $1::jsonb)).*
on conflict (id) do update set
    key = excluded.key,
    name = excluded.name,
    status = excluded.status,
    metadata = excluded.metadata,
    created_at = excluded.created_at,
    updated_at = excluded.updated_at,
    revision = excluded.revision
returning (xmax = 0) as is_new;

-- name: project_group
-- Writes a group as an event left it.
insert into authz.group select (jsonb_populate_record(null::authz.group, $1::jsonb)).*
on conflict (id) do update set
    space_id = excluded.space_id,
    parent_group_id = excluded.parent_group_id,
    key = excluded.key,
    name = excluded.name,
    path = excluded.path,
    status = excluded.status,
    metadata = excluded.metadata,
    created_at = excluded.created_at,
    updated_at = excluded.updated_at,
    revision = excluded.revision
returning (xmax = 0) as is_new;

-- name: project_member
-- Writes a member as an event left it.
insert into authz.member select (jsonb_populate_record(null::authz.member, $1::jsonb)).*
on conflict (id) do update set
    space_id = excluded.space_id,
    display_name = excluded.display_name,
    member_type = excluded.member_type,
    status = excluded.status,
    metadata = excluded.metadata,
    created_at = excluded.created_at,
    updated_at = excluded.updated_at,
    revision = excluded.revision
returning (xmax = 0) as is_new;

-- name: project_user_member
-- Writes a user member as an event left it.
insert into authz.user_member select (jsonb_populate_record(null::authz.user_member, $1::jsonb)).*
on conflict (id) do update set
    space_id = excluded.space_id,
    user_id = excluded.user_id,
    member_id = excluded.member_id,
    relation_type = excluded.relation_type,
    is_primary = excluded.is_primary,
    expires_at = excluded.expires_at,
    revoked_at = excluded.revoked_at,
    revoked_reason = excluded.revoked_reason,
    status = excluded.status,
    metadata = excluded.metadata,
    created_at = excluded.created_at,
    updated_at = excluded.updated_at,
    revision = excluded.revision
returning (xmax = 0) as is_new;

-- name: project_resource_type
-- Writes a resource type as an event left it.
insert into authz.resource_type select (jsonb_populate_record(null::authz.resource_type, $1::jsonb)).*
on conflict (id) do update set
    key = excluded.key,
    display_name = excluded.display_name,
    description = excluded.description,
    status = excluded.status,
    metadata = excluded.metadata,
    created_at = excluded.created_at,
    updated_at = excluded.updated_at,
    revision = excluded.revision
returning (xmax = 0) as is_new;

-- name: project_resource_action
-- Writes a resource action as an event left it.
insert into authz.resource_action select (jsonb_populate_record(null::authz.resource_action, $1::jsonb)).*
on conflict (id) do update set
    resource_type = excluded.resource_type,
    key = excluded.key,
    display_name = excluded.display_name,
    risk_level = excluded.risk_level,
    status = excluded.status,
    metadata = excluded.metadata,
    created_at = excluded.created_at,
    updated_at = excluded.updated_at,
    revision = excluded.revision
returning (xmax = 0) as is_new;

-- name: project_role
-- Writes a role as an event left it.
insert into authz.role select (jsonb_populate_record(null::authz.role, $1::jsonb)).*
on conflict (id) do update set
    space_id = excluded.space_id,
    key = excluded.key,
    name = excluded.name,
    description = excluded.description,
    status = excluded.status,
    metadata = excluded.metadata,
    created_at = excluded.created_at,
    updated_at = excluded.updated_at,
    revision = excluded.revision
returning (xmax = 0) as is_new;

-- name: project_permission
-- Writes a permission as an event left it.
insert into authz.permission select (jsonb_populate_record(null::authz.permission, $1::jsonb)).*
on conflict (id) do update set
    resource_type = excluded.resource_type,
    action = excluded.action,
    scope = excluded.scope,
    condition = excluded.condition,
    status = excluded.status,
    metadata = excluded.metadata,
    created_at = excluded.created_at,
    updated_at = excluded.updated_at,
    revision = excluded.revision
returning (xmax = 0) as is_new;

-- name: project_role_permission
-- Writes a role permission as an event left it.
insert into authz.role_permission select (jsonb_populate_record(null::authz.role_permission, $1::jsonb)).*
on conflict (id) do update set
    space_id = excluded.space_id,
    role_id = excluded.role_id,
    permission_id = excluded.permission_id,
    status = excluded.status,
    metadata = excluded.metadata,
    created_at = excluded.created_at,
    updated_at = excluded.updated_at,
    revision = excluded.revision
returning (xmax = 0) as is_new;

-- name: project_member_role
-- Writes a member role as an event left it.
insert into authz.member_role select (jsonb_populate_record(null::authz.member_role, $1::jsonb)).*
on conflict (id) do update set
    space_id = excluded.space_id,
    member_id = excluded.member_id,
    role_id = excluded.role_id,
    scope_anchor_group_id = excluded.scope_anchor_group_id,
    not_before = excluded.not_before,
    expires_at = excluded.expires_at,
    revoked_at = excluded.revoked_at,
    revoked_reason = excluded.revoked_reason,
    status = excluded.status,
    metadata = excluded.metadata,
    created_at = excluded.created_at,
    updated_at = excluded.updated_at,
    revision = excluded.revision
returning (xmax = 0) as is_new;

-- name: project_resource
-- Writes a resource as an event left it.
insert into authz.resource select (jsonb_populate_record(null::authz.resource, $1::jsonb)).*
on conflict (resource_type, id) do update set
    space_id = excluded.space_id,
    external_id = excluded.external_id,
    group_id = excluded.group_id,
    owner_member_id = excluded.owner_member_id,
    display_name = excluded.display_name,
    properties = excluded.properties,
    status = excluded.status,
    metadata = excluded.metadata,
    created_at = excluded.created_at,
    updated_at = excluded.updated_at,
    revision = excluded.revision
returning (xmax = 0) as is_new;

-- name: read_user_member
-- Returns a binding as its last event left it.
select e.after::text as row from authz.event e
where e.entity_type = 'user_member' and e.entity_id = $1 order by e.revision desc limit 1;

-- name: space_exists
-- Tells whether there is a Space of that id.
select exists (select from authz.space s where s.id = $1) as found;
