-- depends: 0008.administration
-- transactional: true
-- purpose: what was true as of a revision or a time is told from the log of changes without scanning it
-- kind: schema
-- phase: expand
-- tables: authz.event
-- columns: none
-- indexes: +authz.event_occurred_idx +authz.event_member_role_idx +authz.event_role_permission_idx +authz.event_resource_type_idx +authz.event_resource_action_idx
-- constraints: none
-- locks: share on authz.event while the indexes are built: no change is written meanwhile, decisions go on; before the first release no log is long enough to feel it
-- backfill: none
-- rollback: drops the indexes
-- compatibility: the release before reads and writes as before
-- review: security

-- A time is mapped to the last revision that was made at it or before.
-- squawk-ignore require-concurrent-index-creation
create index event_occurred_idx on authz.event (occurred_at, revision);

-- Rows that are looked for by what they hold: a member's grants, a role's permissions, the registry's keys.
-- squawk-ignore require-concurrent-index-creation
create index event_member_role_idx on authz.event ((after ->> 'member_id') collate "C", entity_id, revision)
    where entity_type = 'member_role';
-- squawk-ignore require-concurrent-index-creation
create index event_role_permission_idx on authz.event ((after ->> 'role_id') collate "C", entity_id, revision)
    where entity_type = 'role_permission';
-- squawk-ignore require-concurrent-index-creation
create index event_resource_type_idx on authz.event ((after ->> 'key') collate "C", entity_id, revision)
    where entity_type = 'resource_type';
-- squawk-ignore require-concurrent-index-creation
create index event_resource_action_idx on authz.event
    ((after ->> 'resource_type') collate "C", (after ->> 'key') collate "C", entity_id, revision)
    where entity_type = 'resource_action';
