-- depends: 0002.credential
-- transactional: true
-- purpose: what happened to one thing is found by its kind and id without scanning the log
-- kind: schema
-- phase: expand
-- tables: audit.entry
-- columns: none
-- indexes: +audit.entry_entity_type_idx +audit.entry_entity_idx
-- constraints: none
-- locks: share on audit.entry and its partitions while they are read (about a second a million entries): searches go on, ingestion waits and the outbox of authz keeps what comes
-- backfill: none
-- rollback: drops the indexes
-- compatibility: the release before reads and writes as before
-- review: security
-- (Decisions have no entity, so they are not in these indexes, and appending one costs what it did.)

-- An index of a partitioned table can't be built concurrently. Partitions that come later get theirs when they are attached.
-- squawk-ignore require-concurrent-index-creation
create index entry_entity_type_idx on audit.entry (entity_type, log_index)
    with (deduplicate_items = off) where entity_type is not null;
-- squawk-ignore require-concurrent-index-creation
create index entry_entity_idx on audit.entry (entity_id, log_index)
    with (deduplicate_items = off) where entity_id is not null;
