-- depends: none
-- transactional: true
-- purpose: the nouns of the permission graph as tables, with the Same-Space law as constraints
-- kind: schema
-- phase: expand
-- tables: +authz.user +authz.space +authz.group +authz.member +authz.user_member +authz.resource_type +authz.resource_action +authz.role +authz.permission +authz.role_permission +authz.member_role +authz.resource
-- columns: none
-- indexes: +authz.user_email_key +authz.group_path_key +authz.user_member_user_idx +authz.user_member_member_idx +authz.member_role_role_idx +authz.role_permission_permission_idx +authz.resource_group_idx +authz.resource_owner_idx
-- constraints: with their tables
-- locks: none (new tables)
-- backfill: none
-- rollback: drops the tables; nothing else depends on them yet
-- compatibility: first release
-- review: security
-- (A row's id is opaque; tables of a Space are referred to by (space_id, id), so that no row can point into another Space.)

create schema authz;
grant usage on schema authz to authz_app, authz_reader;

create domain authz.identifier as text collate "C"
    constraint identifier_form check (value ~ '^[A-Za-z0-9_.:@-]{1,128}$');

create domain authz.json_object as jsonb
    constraint json_object_form check (jsonb_typeof(value) = 'object');

create table authz.user (
    id authz.identifier primary key,
    email text not null constraint user_email_form check (email ~ '^[^\s@]+@[^\s@]+$' and length(email) <= 320),
    display_name text,
    status text not null default 'active' constraint user_status_known check (status in ('active', 'disabled')),
    metadata authz.json_object not null default '{}',
    created_at timestamptz not null,
    updated_at timestamptz not null,
    revision bigint not null
);
create unique index user_email_key on authz.user (lower(email));

create table authz.space (
    id authz.identifier primary key,
    key text collate "C" not null constraint space_key_key unique
        constraint space_key_form check (key ~ '^[a-z][a-z0-9_-]{0,62}$'),
    name text not null,
    status text not null default 'active' constraint space_status_known check (status in ('active', 'disabled')),
    metadata authz.json_object not null default '{}',
    created_at timestamptz not null,
    updated_at timestamptz not null,
    revision bigint not null
);

create table authz.group (
    id authz.identifier primary key,
    space_id authz.identifier not null constraint group_space_fk references authz.space (id),
    parent_group_id authz.identifier,
    key text collate "C" not null constraint group_key_form check (key ~ '^[a-z][a-z0-9_]{0,62}$'),
    name text not null,
    path text collate "C" not null constraint group_path_length check (length(path) <= 16384),
    status text not null default 'active' constraint group_status_known check (status in ('active', 'disabled')),
    metadata authz.json_object not null default '{}',
    created_at timestamptz not null,
    updated_at timestamptz not null,
    revision bigint not null,
    constraint group_same_space_key unique (space_id, id),
    constraint group_parent_same_space foreign key (space_id, parent_group_id) references authz.group (space_id, id),
    constraint group_sibling_key unique nulls not distinct (space_id, parent_group_id, key)
);
-- A path may be longer than a b-tree entry may be, so its digest stands for it.
create unique index group_path_key on authz.group (space_id, md5(path));

create function authz.check_group_path() returns trigger
language plpgsql set search_path = pg_catalog as $$
declare
    changed authz.group;
    prefix text := '';
begin
    -- The rows as they are now: the change that queued this may be long past. The parent is held, so that whoever moves
    -- it at the same time waits, and then finds this row below it.
    select g.* into changed from authz.group g where g.id = new.id;
    if changed.parent_group_id is not null then
        select p.path || '.' into prefix
        from authz.group p where p.space_id = changed.space_id and p.id = changed.parent_group_id for share;
    end if;
    if changed.path is distinct from prefix || changed.key or exists (
        select from authz.group c
        where c.space_id = changed.space_id and c.parent_group_id = changed.id
            and c.path <> changed.path || '.' || c.key
    ) then
        raise exception 'the path % of group %, or of one right below it, is not its parent''s path and its own key',
            changed.path, changed.id
            using errcode = 'check_violation', constraint = 'group_path_of_parent', table = 'group', schema = 'authz';
    end if;
    return null;
end
$$;
-- Deferred, because a move rewrites a whole subtree and the rows agree only at its end. A cycle cannot agree at all.
create constraint trigger group_path_of_parent
    after insert or update of path, key, parent_group_id, space_id on authz.group
    deferrable initially deferred
    for each row execute function authz.check_group_path();

create table authz.member (
    id authz.identifier primary key,
    space_id authz.identifier not null constraint member_space_fk references authz.space (id),
    display_name text not null,
    member_type text not null default 'person',
    status text not null default 'active' constraint member_status_known check (status in ('active', 'disabled')),
    metadata authz.json_object not null default '{}',
    created_at timestamptz not null,
    updated_at timestamptz not null,
    revision bigint not null,
    constraint member_same_space_key unique (space_id, id)
);

create table authz.user_member (
    id authz.identifier primary key,
    space_id authz.identifier not null,
    user_id authz.identifier not null constraint user_member_user_fk references authz.user (id),
    member_id authz.identifier not null,
    relation_type text not null default 'assigned',
    is_primary boolean not null default false,
    status text not null default 'active' constraint user_member_status_known check (status in ('active', 'revoked')),
    expires_at timestamptz,
    revoked_at timestamptz,
    revoked_reason text,
    metadata authz.json_object not null default '{}',
    created_at timestamptz not null,
    updated_at timestamptz not null,
    revision bigint not null,
    constraint user_member_same_space foreign key (space_id, member_id) references authz.member (space_id, id),
    constraint user_member_revoked_is_dated check ((status = 'revoked') = (revoked_at is not null))
);
create index user_member_user_idx on authz.user_member (user_id);
create index user_member_member_idx on authz.user_member (space_id, member_id);

create table authz.resource_type (
    id authz.identifier primary key,
    key text collate "C" not null constraint resource_type_key_key unique
        constraint resource_type_key_form check (key ~ '^[a-z][a-z0-9_.-]{0,62}$'),
    display_name text not null,
    description text,
    status text not null default 'active' constraint resource_type_status_known check (status in ('active', 'disabled')),
    metadata authz.json_object not null default '{}',
    created_at timestamptz not null,
    updated_at timestamptz not null,
    revision bigint not null
);

create table authz.resource_action (
    id authz.identifier primary key,
    resource_type text collate "C" not null
        constraint resource_action_type_fk references authz.resource_type (key),
    key text collate "C" not null constraint resource_action_key_form check (key ~ '^[a-z][a-z0-9_.-]{0,62}$'),
    display_name text not null,
    risk_level text not null
        constraint resource_action_risk_known check (risk_level in ('low', 'normal', 'high', 'critical')),
    status text not null default 'active'
        constraint resource_action_status_known check (status in ('active', 'disabled')),
    metadata authz.json_object not null default '{}',
    created_at timestamptz not null,
    updated_at timestamptz not null,
    revision bigint not null,
    constraint resource_action_key_key unique (resource_type, key)
);

create table authz.role (
    id authz.identifier primary key,
    space_id authz.identifier not null constraint role_space_fk references authz.space (id),
    key text collate "C" not null constraint role_key_form check (key ~ '^[a-z][a-z0-9_.-]{0,62}$'),
    name text not null,
    description text,
    status text not null default 'active' constraint role_status_known check (status in ('active', 'disabled')),
    metadata authz.json_object not null default '{}',
    created_at timestamptz not null,
    updated_at timestamptz not null,
    revision bigint not null,
    constraint role_same_space_key unique (space_id, id),
    constraint role_key_key unique (space_id, key)
);

create table authz.permission (
    id authz.identifier primary key,
    resource_type text collate "C" not null,
    action text collate "C" not null,
    scope text not null constraint permission_scope_known check (scope in ('self', 'group', 'group_tree', 'space')),
    condition authz.json_object constraint permission_condition_size check (octet_length(condition::text) <= 2000),
    status text not null default 'active' constraint permission_status_known check (status in ('active', 'disabled')),
    metadata authz.json_object not null default '{}',
    created_at timestamptz not null,
    updated_at timestamptz not null,
    revision bigint not null,
    constraint permission_registered foreign key (resource_type, action)
        references authz.resource_action (resource_type, key),
    constraint permission_key unique nulls not distinct (resource_type, action, scope, condition)
);

create table authz.role_permission (
    id authz.identifier primary key,
    space_id authz.identifier not null,
    role_id authz.identifier not null,
    permission_id authz.identifier not null
        constraint role_permission_permission_fk references authz.permission (id),
    status text not null default 'active'
        constraint role_permission_status_known check (status in ('active', 'disabled')),
    metadata authz.json_object not null default '{}',
    created_at timestamptz not null,
    updated_at timestamptz not null,
    revision bigint not null,
    constraint role_permission_same_space foreign key (space_id, role_id) references authz.role (space_id, id),
    constraint role_permission_key unique (role_id, permission_id)
);
create index role_permission_permission_idx on authz.role_permission (permission_id);

create table authz.member_role (
    id authz.identifier primary key,
    space_id authz.identifier not null,
    member_id authz.identifier not null,
    role_id authz.identifier not null,
    scope_anchor_group_id authz.identifier,
    not_before timestamptz,
    expires_at timestamptz,
    status text not null default 'active' constraint member_role_status_known check (status in ('active', 'revoked')),
    revoked_at timestamptz,
    revoked_reason text,
    metadata authz.json_object not null default '{}',
    created_at timestamptz not null,
    updated_at timestamptz not null,
    revision bigint not null,
    constraint member_role_member_same_space foreign key (space_id, member_id)
        references authz.member (space_id, id),
    constraint member_role_role_same_space foreign key (space_id, role_id) references authz.role (space_id, id),
    constraint member_role_anchor_same_space foreign key (space_id, scope_anchor_group_id)
        references authz.group (space_id, id),
    constraint member_role_key unique nulls not distinct (member_id, role_id, scope_anchor_group_id),
    constraint member_role_window check (not_before <= expires_at),
    constraint member_role_revoked_is_dated check ((status = 'revoked') = (revoked_at is not null))
);
create index member_role_role_idx on authz.member_role (space_id, role_id);

create table authz.resource (
    id authz.identifier not null,
    resource_type text collate "C" not null constraint resource_type_fk references authz.resource_type (key),
    space_id authz.identifier not null constraint resource_space_fk references authz.space (id),
    external_id text collate "C" constraint resource_external_id_length check (length(external_id) between 1 and 256),
    group_id authz.identifier,
    owner_member_id authz.identifier,
    display_name text,
    properties authz.json_object not null default '{}'
        constraint resource_properties_size check (octet_length(properties::text) <= 16384),
    status text not null default 'active' constraint resource_status_known check (status in ('active', 'archived')),
    metadata authz.json_object not null default '{}',
    created_at timestamptz not null,
    updated_at timestamptz not null,
    revision bigint not null,
    constraint resource_pkey primary key (resource_type, id),
    constraint resource_group_same_space foreign key (space_id, group_id) references authz.group (space_id, id),
    constraint resource_owner_same_space foreign key (space_id, owner_member_id)
        references authz.member (space_id, id)
);
create index resource_group_idx on authz.resource (space_id, group_id);
create index resource_owner_idx on authz.resource (space_id, owner_member_id);

-- Nothing is ever hard-deleted: the service may add rows and change them, and that is all.
grant select, insert, update on
    authz.user, authz.space, authz.group, authz.member, authz.user_member, authz.resource_type, authz.resource_action,
    authz.role, authz.permission, authz.role_permission, authz.member_role, authz.resource
to authz_app;
grant select on
    authz.user, authz.space, authz.group, authz.member, authz.user_member, authz.resource_type, authz.resource_action,
    authz.role, authz.permission, authz.role_permission, authz.member_role, authz.resource
to authz_reader;
