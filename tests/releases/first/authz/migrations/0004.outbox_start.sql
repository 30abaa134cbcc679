-- depends: 0003.credential
-- transactional: true
-- purpose: the one row each that says which outbox slot is written to and what the relay last did
-- kind: data
-- phase: expand
-- tables: authz.outbox_rotation authz.relay
-- columns: none
-- indexes: none
-- constraints: none
-- locks: none
-- backfill: two rows, idempotent
-- rollback: deletes them
-- compatibility: first release
-- review: none

insert into authz.outbox_rotation (slot) values (0) on conflict do nothing;
insert into authz.relay (singleton) values (true) on conflict do nothing;
