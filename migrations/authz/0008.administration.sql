-- depends: 0007.outbox_compressed
-- transactional: true
-- purpose: what administration over HTTP needs: answers kept for an Idempotency-Key, and lists of a Space in the order of ids
-- kind: schema
-- phase: expand
-- tables: +authz.idempotency_key authz.user_member authz.role_permission authz.member_role authz.resource
-- columns: none
-- indexes: +authz.idempotency_key_created_idx +authz.user_member_list_idx +authz.role_permission_list_idx +authz.member_role_list_idx +authz.member_role_anchor_idx +authz.resource_list_idx
-- constraints: with their table
-- locks: share on the four tables while their indexes are built: decisions go on, changes wait (about a second a million rows)
-- backfill: none
-- rollback: drops them
-- compatibility: the release before knows none of them and needs none
-- review: security

-- Kept in the transaction of the change that the answer tells of, and let go of after a day. No log: what happened is in
-- authz.event.
create table authz.idempotency_key (
    credential_id text collate "C" not null,
    key text collate "C" not null constraint idempotency_key_length check (length(key) between 1 and 255),
    request_digest bytea not null constraint idempotency_digest_length check (octet_length(request_digest) = 32),
    answer jsonb not null,
    created_at timestamptz not null,
    constraint idempotency_key_pkey primary key (credential_id, key)
);
create index idempotency_key_created_idx on authz.idempotency_key (created_at);
grant select, insert, update, delete on authz.idempotency_key to authz_app;

-- Built within the transaction: before the first release the tables are small, and a half-built index is worse than a wait.
-- squawk-ignore-file require-concurrent-index-creation
create index user_member_list_idx on authz.user_member (space_id, id);
create index role_permission_list_idx on authz.role_permission (space_id, id);
create index member_role_list_idx on authz.member_role (space_id, id);
create index member_role_anchor_idx on authz.member_role (space_id, scope_anchor_group_id);
create index resource_list_idx on authz.resource (space_id, resource_type, id);
