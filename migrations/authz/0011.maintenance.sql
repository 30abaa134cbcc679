-- depends: 0010.identifier_form
-- transactional: true
-- purpose: whether authz is in maintenance, and who switched it on and off, when and why, kept for ever
-- kind: schema
-- phase: expand
-- tables: +authz.maintenance
-- columns: none
-- indexes: none
-- constraints: with the table
-- locks: none (new table)
-- backfill: none
-- rollback: drops the table, and with it who switched maintenance when and why; a service of this release then is not ready
-- compatibility: the release before knows nothing of it, and answers whatever it says
-- review: security

-- The last row says how it is; all of them together say how it came about. So there is one table, insert-only, and nothing
-- that could disagree with it. It is no part of the permission graph, hence not of authz.event, whose revisions are.
create table authz.maintenance (
    switch_id bigint generated always as identity primary key,
    is_on boolean not null,
    switched_at timestamptz not null default clock_timestamp(),
    -- The role is what the database knows, the operator is what the tool was told.
    session_role text collate "C" not null default session_user,
    operator text not null constraint maintenance_operator_length check (length(operator) between 1 and 255),
    reason text constraint maintenance_reason_length check (length(reason) between 1 and 500),
    retry_after_seconds bigint
        constraint maintenance_retry_after_bounds check (retry_after_seconds between 1 and 86400),
    constraint maintenance_on_says_why check (is_on = (reason is not null) and is_on = (retry_after_seconds is not null))
);
create trigger maintenance_is_insert_only before update or delete or truncate on authz.maintenance
    for each statement execute function authz.refuse_change();
alter table authz.maintenance enable always trigger maintenance_is_insert_only;

grant select on authz.maintenance to authz_app, authz_reader;
