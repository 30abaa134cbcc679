"""Changes to the services' own schemas, one for each kind of object and attribute that they have."""

from __future__ import annotations

from typing import Final

from benchmarks.drift.mutation import Mutation


def _authz(sql: str, object: str, attribute: str | None = None, *, alone: bool = True, since: int = 15) -> Mutation:
    return Mutation(where="authz", sql=sql, object=object, attribute=attribute, alone=alone, since=since)


def _audit(sql: str, object: str, attribute: str | None = None, *, alone: bool = True, since: int = 15) -> Mutation:
    return Mutation(where="audit", sql=sql, object=object, attribute=attribute, alone=alone, since=since)


TABLES: Final = (
    _authz("drop table authz.relay", "table authz.relay"),
    _authz("drop table authz.space cascade", "table authz.space", alone=False),
    _authz("create table authz.stray (id integer primary key, name text not null)", "table authz.stray"),
    _authz("create table public.stray (id integer)", "table public.stray"),
    _authz("alter table authz.relay rename to relays", "table authz.relay", alone=False),
    _authz("alter table authz.relay set schema public", "table authz.relay", alone=False),
    _authz("alter table authz.relay set unlogged", "table authz.relay", "persistence"),
    _authz("alter table authz.space owner to authz_app", "table authz.space", "owner", alone=False),
    _authz("alter table authz.space set (fillfactor = 50)", "table authz.space", "options.fillfactor"),
    _authz("alter table authz.space set (autovacuum_enabled = off)", "table authz.space", "options.autovacuum_enabled"),
    _authz(
        "alter table authz.event set (toast.autovacuum_enabled = off)",
        "table authz.event",
        "toast_options.autovacuum_enabled",
    ),
    _authz("alter table authz.space enable row level security", "table authz.space", "row_security"),
    _authz("alter table authz.space force row level security", "table authz.space", "force_row_security"),
    _authz("alter table authz.space replica identity full", "table authz.space", "replica_identity"),
    _authz(
        "alter table authz.space replica identity using index space_key_key", "table authz.space", "replica_identity"
    ),
    _authz(
        "alter table authz.outbox detach partition authz.outbox_1", "table authz.outbox_1", "partition_of", alone=False
    ),
    _authz("drop table authz.outbox_2", "table authz.outbox_2"),
    _authz("create table authz.outbox_3 partition of authz.outbox for values in (3)", "table authz.outbox_3"),
    _authz(
        "alter table authz.outbox detach partition authz.outbox_2;"
        "alter table authz.outbox attach partition authz.outbox_2 for values in (7)",
        "table authz.outbox_2",
        "partition_bound",
        alone=False,
    ),
    _authz("comment on table authz.space is 'mine'", "table authz.space", "comment"),
    _authz("drop table public._yoyo_log", "table public._yoyo_log"),
    _authz("alter table public._migration_ledger add column note text", "column public._migration_ledger.note"),
)

COLUMNS: Final = (
    _authz("alter table authz.resource drop column external_id", "column authz.resource.external_id", alone=False),
    _authz("alter table authz.outbox drop column traceparents", "column authz.outbox.traceparents", alone=False),
    _authz("alter table authz.relay rename column last_error to error", "column authz.relay.last_error", alone=False),
    _authz("alter table authz.space add column note text not null default ''", "column authz.space.note"),
    _authz("alter table authz.outbox add column note text", "column authz.outbox.note", alone=False),
    _authz("alter table authz.relay alter column instance type varchar(20)", "column authz.relay.instance", "type"),
    _authz(
        "alter table authz.relay alter column delivered_lag_ms type integer",
        "column authz.relay.delivered_lag_ms",
        "type",
    ),
    _authz(
        'alter table authz.event alter column reason type text collate "C"', "column authz.event.reason", "collation"
    ),
    _authz(
        "alter table authz.event alter column request_id drop not null", "column authz.event.request_id", "not_null"
    ),
    _authz("alter table authz.event alter column reason set not null", "column authz.event.reason", "not_null"),
    _authz(
        "alter table authz.outbox alter column recorded_at drop not null",
        "column authz.outbox.recorded_at",
        "not_null",
        alone=False,
    ),
    _authz(
        "alter table authz.space alter column status set default 'disabled'", "column authz.space.status", "default"
    ),
    _authz("alter table authz.space alter column status drop default", "column authz.space.status", "default"),
    _authz("alter table authz.space alter column name set default 'x'", "column authz.space.name", "default"),
    _authz(
        "alter table authz.outbox_1 alter column recorded_at drop default",
        "column authz.outbox_1.recorded_at",
        "default",
    ),
    _authz(
        "alter table authz.outbox_writer alter column writer_id set generated by default",
        "column authz.outbox_writer.writer_id",
        "identity",
    ),
    _authz(
        "alter table authz.outbox_writer alter column writer_id drop identity",
        "column authz.outbox_writer.writer_id",
        "identity",
    ),
    _authz(
        "alter table authz.outbox alter column events set storage extended",
        "column authz.outbox.events",
        "storage",
        alone=False,
    ),
    _authz("alter table authz.event alter column after set storage external", "column authz.event.after", "storage"),
    _authz(
        "alter table authz.event alter column after set compression pglz", "column authz.event.after", "compression"
    ),
    _authz("alter table authz.space alter column key set statistics 500", "column authz.space.key", "statistics"),
    _authz(
        "alter table authz.space alter column key set (n_distinct = -1)", "column authz.space.key", "options.n_distinct"
    ),
    _authz("comment on column authz.outbox.events_length is null", "column authz.outbox.events_length", "comment"),
    _authz("comment on column authz.space.key is 'mine'", "column authz.space.key", "comment"),
    _authz("grant update (reason) on authz.event to authz_app", "column authz.event.reason", "grants.authz_app"),
)

CONSTRAINTS: Final = (
    _authz(
        "alter table authz.space drop constraint space_status_known", "constraint space_status_known on authz.space"
    ),
    _authz(
        "alter table authz.space drop constraint space_status_known, add constraint space_status_known check (true)",
        "constraint space_status_known on authz.space",
        "definition",
    ),
    _authz(
        "alter table authz.space drop constraint space_name_length;"
        "alter table authz.space add constraint space_name_length check (length(name) <= 256) not valid",
        "constraint space_name_length on authz.space",
        "not_valid",
    ),
    _authz(
        "alter table authz.space drop constraint space_name_length;"
        "alter table authz.space add constraint space_name_length check (length(name) <= 256) no inherit",
        "constraint space_name_length on authz.space",
        "no_inherit",
    ),
    _authz(
        "alter table authz.space drop constraint space_name_length;"
        "alter table authz.space add constraint space_name_length check (length(name) <= 256) not enforced",
        "constraint space_name_length on authz.space",
        "not_enforced",
        since=18,
    ),
    _authz(
        "alter table authz.space rename constraint space_name_length to another",
        "constraint space_name_length on authz.space",
        alone=False,
    ),
    _authz("alter table authz.space add constraint no check (length(name) < 9)", "constraint no on authz.space"),
    _authz("alter table authz.group drop constraint group_space_fk", 'constraint group_space_fk on authz."group"'),
    _authz(
        "alter table authz.group drop constraint group_space_fk,"
        " add constraint group_space_fk foreign key (space_id) references authz.space (id) on delete cascade",
        'constraint group_space_fk on authz."group"',
        "definition",
    ),
    _authz(
        "alter table authz.group alter constraint group_space_fk deferrable",
        'constraint group_space_fk on authz."group"',
        "deferrable",
    ),
    _authz(
        "alter table authz.group alter constraint group_space_fk deferrable initially deferred",
        'constraint group_space_fk on authz."group"',
        "initially_deferred",
        alone=False,
    ),
    _authz(
        "alter table authz.group alter constraint group_space_fk not enforced",
        'constraint group_space_fk on authz."group"',
        "not_enforced",
        since=18,
    ),
    _authz(
        "alter table authz.member disable trigger all",
        "constraint member_space_fk on authz.member",
        'triggers.authz.member ("RI_FKey_check_ins")',
        alone=False,
    ),
    _authz("alter table authz.event drop constraint event_id_key", "constraint event_id_key on authz.event"),
    _authz(
        "alter table authz.group drop constraint group_sibling_key,"
        " add constraint group_sibling_key unique (space_id, parent_group_id, key)",
        'constraint group_sibling_key on authz."group"',
        "definition",
        alone=False,
    ),
    _authz(
        "alter table authz.event drop constraint event_id_key, add constraint event_id_key unique (event_id) deferrable",
        "constraint event_id_key on authz.event",
        "deferrable",
    ),
    _authz("alter table authz.event drop constraint event_pkey", "constraint event_pkey on authz.event"),
    _authz(
        "alter table authz.user drop constraint user_pkey cascade", 'constraint user_pkey on authz."user"', alone=False
    ),
    _authz(
        "alter domain authz.identifier drop constraint identifier_form",
        "constraint identifier_form on authz.identifier",
    ),
    _authz(
        "alter domain authz.json_object drop constraint json_object_form;"
        "alter domain authz.json_object add constraint json_object_form check (true)",
        'constraint json_object_form on authz."json_object"',
        "definition",
    ),
    _authz(
        "alter domain authz.json_object drop constraint json_object_form;"
        "alter domain authz.json_object add constraint json_object_form check (jsonb_typeof(value) = 'object') not valid",
        'constraint json_object_form on authz."json_object"',
        "not_valid",
    ),
    _authz(
        "comment on constraint space_key_form on authz.space is 'mine'",
        "constraint space_key_form on authz.space",
        "comment",
    ),
    _authz(
        "alter table authz.event drop constraint event_request_id_not_null;"
        "alter table authz.event add constraint event_request_id_not_null not null request_id not valid",
        "constraint event_request_id_not_null on authz.event",
        "not_valid",
        since=18,
    ),
)

INDEXES: Final = (
    _authz("drop index authz.event_space_idx", "index authz.event_space_idx"),
    _authz("create index stray on authz.event (kind)", "index authz.stray"),
    _authz("alter index authz.event_space_idx rename to other", "index authz.event_space_idx", alone=False),
    _authz(
        "drop index authz.event_space_idx; create index event_space_idx on authz.event (space_id, revision desc)",
        "index authz.event_space_idx",
        "definition",
    ),
    _authz(
        "drop index authz.event_member_role_idx; create index event_member_role_idx on authz.event"
        " ((after ->> 'member_id') collate \"C\", entity_id, revision)",
        "index authz.event_member_role_idx",
        "definition",
    ),
    _authz(
        "drop index authz.user_email_key; create index user_email_key on authz.user (lower(email))",
        "index authz.user_email_key",
        "definition",
    ),
    _authz(
        "drop index authz.event_space_idx; create index event_space_idx on authz.event (space_id, revision) include (kind)",
        "index authz.event_space_idx",
        "definition",
    ),
    _authz(
        "drop index authz.event_entity_idx; create index event_entity_idx on authz.event"
        " (entity_type, entity_id text_pattern_ops, revision)",
        "index authz.event_entity_idx",
        "definition",
    ),
    _authz(
        "alter index authz.event_space_idx set (fillfactor = 50)", "index authz.event_space_idx", "options.fillfactor"
    ),
    _authz("alter index authz.event_pkey set (fillfactor = 50)", "index authz.event_pkey", "options.fillfactor"),
    _authz(
        "update pg_index set indisvalid = false where indexrelid = 'authz.event_space_idx'::regclass",
        "index authz.event_space_idx",
        "invalid",
    ),
    _authz("alter table authz.event cluster on event_pkey", "index authz.event_pkey", "clustered"),
    _authz(
        "alter index authz.user_email_key alter column 1 set statistics 100",
        "index authz.user_email_key",
        "statistics.1",
    ),
    _authz("comment on index authz.event_space_idx is 'mine'", "index authz.event_space_idx", "comment"),
    _audit("drop index audit.entry_space_idx", "index audit.entry_space_idx", alone=False),
    _audit(
        "alter index audit.entry_000001_space_id_log_index_idx reset (deduplicate_items)",
        "index audit.entry_000001_space_id_log_index_idx",
        "options.deduplicate_items",
    ),
    _audit("create index stray on only audit.entry (kind)", "index audit.stray"),
)

_REFUSE: Final = "create or replace function authz.refuse_change() returns trigger language plpgsql"
ROUTINES: Final = (
    _authz("drop function authz.reclaim_outbox()", "function authz.reclaim_outbox()"),
    _authz("create function authz.stray() returns integer language sql as 'select 1'", "function authz.stray()"),
    _authz(
        "create function authz.reclaim_outbox(integer) returns integer language sql as 'select 1'",
        "function authz.reclaim_outbox(integer)",
    ),
    _authz(
        f"{_REFUSE} set search_path = pg_catalog as $$ begin return null; end $$",
        "function authz.refuse_change()",
        "body",
    ),
    _authz(
        "alter function authz.reclaim_outbox() security invoker", "function authz.reclaim_outbox()", "security_definer"
    ),
    _authz(
        "alter function authz.reclaim_outbox() set search_path = public",
        "function authz.reclaim_outbox()",
        "settings.search_path",
    ),
    _authz(
        "alter function authz.reclaim_outbox() reset search_path",
        "function authz.reclaim_outbox()",
        "settings.search_path",
    ),
    _authz(
        "alter function authz.reclaim_outbox() set work_mem = '1GB'",
        "function authz.reclaim_outbox()",
        "settings.work_mem",
    ),
    _audit(
        "alter function audit.index_at(timestamptz) volatile",
        "function audit.index_at(timestamp with time zone)",
        "volatility",
    ),
    _audit(
        "alter function audit.index_at(timestamptz) strict",
        "function audit.index_at(timestamp with time zone)",
        "strict",
    ),
    _audit(
        "alter function audit.index_at(timestamptz) leakproof",
        "function audit.index_at(timestamp with time zone)",
        "leakproof",
    ),
    _audit(
        "alter function audit.index_at(timestamptz) parallel safe",
        "function audit.index_at(timestamp with time zone)",
        "parallel",
    ),
    _audit(
        "alter function audit.index_at(timestamptz) cost 7", "function audit.index_at(timestamp with time zone)", "cost"
    ),
    _audit(
        "comment on function audit.index_at(timestamptz) is 'mine'",
        "function audit.index_at(timestamp with time zone)",
        "comment",
    ),
    _authz(
        "alter function authz.reclaim_outbox() owner to authz_app",
        "function authz.reclaim_outbox()",
        "owner",
        alone=False,
    ),
    _authz(
        "grant execute on function authz.reclaim_outbox() to public", "function authz.reclaim_outbox()", "grants.public"
    ),
    _authz(
        "revoke execute on function authz.reclaim_outbox() from authz_app",
        "function authz.reclaim_outbox()",
        "grants.authz_app",
    ),
    _authz(
        "drop function authz.reclaim_outbox(); create function authz.reclaim_outbox() returns bigint language sql as 'select 1'",
        "function authz.reclaim_outbox()",
        "result",
        alone=False,
    ),
    _authz("create procedure authz.stray() language sql as 'select 1'", "procedure authz.stray()"),
    _authz("create aggregate authz.stray(integer) (sfunc = int4pl, stype = integer)", "aggregate authz.stray(integer)"),
)

TRIGGERS: Final = (
    _authz("drop trigger event_is_insert_only on authz.event", "trigger event_is_insert_only on authz.event"),
    _authz(
        "alter table authz.event disable trigger event_is_insert_only",
        "trigger event_is_insert_only on authz.event",
        "enabled",
    ),
    _authz(
        "alter table authz.event enable trigger event_is_insert_only",
        "trigger event_is_insert_only on authz.event",
        "enabled",
    ),
    _authz(
        "alter table authz.event enable replica trigger event_is_insert_only",
        "trigger event_is_insert_only on authz.event",
        "enabled",
    ),
    _authz(
        "create or replace trigger event_is_insert_only before update or delete on authz.event"
        " for each statement execute function authz.refuse_change()",
        "trigger event_is_insert_only on authz.event",
        "definition",
        alone=False,
    ),
    _authz(
        "create trigger stray before insert on authz.event for each statement execute function authz.refuse_change()",
        "trigger stray on authz.event",
    ),
    _authz(
        "alter trigger event_is_insert_only on authz.event rename to other",
        "trigger event_is_insert_only on authz.event",
        alone=False,
    ),
    _authz(
        "comment on trigger event_is_insert_only on authz.event is 'mine'",
        "trigger event_is_insert_only on authz.event",
        "comment",
    ),
    _authz(
        "drop trigger group_path_of_parent on authz.group;"
        "create constraint trigger group_path_of_parent after insert or update of path, key, parent_group_id, space_id"
        " on authz.group deferrable initially immediate for each row execute function authz.check_group_path()",
        'trigger group_path_of_parent on authz."group"',
        "definition",
    ),
    _audit(
        "alter table audit.entry disable trigger entry_insert_only_row",
        "trigger entry_insert_only_row on audit.entry",
        "enabled",
        alone=False,
    ),
    _audit(
        "drop trigger entry_insert_only_row on audit.entry", "trigger entry_insert_only_row on audit.entry", alone=False
    ),
)

PARTITIONS: Final = (
    _audit("drop trigger entry_insert_only on audit.entry_000001", "trigger entry_insert_only on audit.entry_000001"),
    _audit(
        "alter table audit.entry_000001 disable trigger entry_insert_only_row",
        "trigger entry_insert_only_row on audit.entry_000001",
        "enabled",
    ),
    _audit(
        "alter table audit.entry_000001 disable trigger entry_admit",
        "trigger entry_admit on audit.entry_000001",
        "enabled",
    ),
    _audit("create index stray on audit.entry_000001 (kind)", "index audit.stray"),
    _audit(
        "alter table audit.entry_000001 add constraint stray check (log_index > 0)",
        "constraint stray on audit.entry_000001",
    ),
    _audit("grant select on audit.entry_000001 to audit_app", "table audit.entry_000001", "grants.audit_app"),
    _audit("grant all on audit.entry_000001 to public", "table audit.entry_000001", "grants.public"),
    _audit("alter table audit.entry_000001 owner to audit_app", "table audit.entry_000001", "owner", alone=False),
    _audit("alter table audit.entry_000001 enable row level security", "table audit.entry_000001", "row_security"),
    _audit(
        "alter table audit.entry_000001 reset (toast_tuple_target)",
        "table audit.entry_000001",
        "options.toast_tuple_target",
    ),
    _audit(
        "alter table audit.entry_000001 alter column leaf set storage extended",
        "column audit.entry_000001.leaf",
        "storage",
    ),
    _audit(
        "alter table audit.entry_000001 alter column kind set default 'x'", "column audit.entry_000001.kind", "default"
    ),
    _audit(
        "alter table audit.entry detach partition audit.entry_000001",
        "table audit.entry_000001",
        "partition_of",
        alone=False,
    ),
    _audit("alter table audit.entry_000001 set unlogged", "table audit.entry_000001", "persistence"),
    _audit(
        "create rule stray as on delete to audit.entry_000001 do instead nothing", "rule stray on audit.entry_000001"
    ),
    _audit("comment on table audit.entry_000001 is 'mine'", "table audit.entry_000001", "comment"),
)

_OTHERS_ROLE: Final = "pg_monitor"
PRIVILEGES: Final = (
    _authz("grant delete on authz.event to authz_app", "table authz.event", "grants.authz_app"),
    _authz("grant truncate on authz.event to authz_app", "table authz.event", "grants.authz_app"),
    _authz("revoke insert on authz.event from authz_app", "table authz.event", "grants.authz_app"),
    _authz("revoke select on authz.event from authz_reader", "table authz.event", "grants.authz_reader"),
    _authz("grant select on authz.event to authz_reader with grant option", "table authz.event", "grants.authz_reader"),
    _authz("grant select on authz.event to public", "table authz.event", "grants.public"),
    _authz(f"grant select on authz.event to {_OTHERS_ROLE}", "table authz.event", f"grants.{_OTHERS_ROLE}"),
    _authz("revoke insert on authz.event from authz_owner", "table authz.event", "grants.authz_owner"),
    _authz("grant all on authz.outbox_0 to authz_app", "table authz.outbox_0", "grants.authz_app"),
    _authz("revoke usage on schema authz from authz_app", "schema authz", "grants.authz_app"),
    _authz("grant create on schema authz to authz_app", "schema authz", "grants.authz_app"),
    _authz("grant create on schema public to public", "schema public", "grants.public"),
    _authz(
        "grant usage on sequence authz.outbox_writer_writer_id_seq to authz_app",
        "sequence authz.outbox_writer_writer_id_seq",
        "grants.authz_app",
    ),
    _authz("revoke usage on type authz.identifier from public", "domain authz.identifier", "grants.public"),
    _authz(
        "grant insert on public._migration_ledger to authz_app", "table public._migration_ledger", "grants.authz_app"
    ),
    _authz("revoke usage on language plpgsql from public", "language plpgsql", "grants.public"),
    _authz(
        "alter default privileges for role authz_owner grant all on tables to authz_app",
        "default privileges for authz_owner on tables",
    ),
    _authz(
        "alter default privileges for role authz_owner in schema authz grant execute on functions to authz_app",
        "default privileges for authz_owner in authz on functions",
    ),
    _authz(
        "alter default privileges for role authz_owner revoke execute on functions from public",
        "default privileges for authz_owner on functions",
    ),
)

OTHERS: Final = (
    _authz("create schema stray", "schema stray"),
    _authz("drop schema authz cascade", "schema authz", alone=False),
    _authz("alter schema authz owner to authz_app", "schema authz", "owner", alone=False),
    _authz("comment on schema authz is 'mine'", "schema authz", "comment"),
    _authz("drop domain authz.json_object cascade", 'domain authz."json_object"', alone=False),
    _authz("alter domain authz.identifier set default 'x'", "domain authz.identifier", "default"),
    _authz("alter domain authz.json_object set not null", 'domain authz."json_object"', "not_null"),
    _authz("alter domain authz.identifier owner to authz_app", "domain authz.identifier", "owner", alone=False),
    _authz("create domain authz.stray as text", "domain authz.stray"),
    _authz("create type authz.stray as enum ('a')", "type authz.stray"),
    _authz(
        "alter sequence authz.outbox_writer_writer_id_seq increment 2",
        "sequence authz.outbox_writer_writer_id_seq",
        "increment",
    ),
    _authz(
        "alter sequence authz.outbox_writer_writer_id_seq cycle", "sequence authz.outbox_writer_writer_id_seq", "cycle"
    ),
    _authz(
        "alter sequence authz.outbox_writer_writer_id_seq cache 9",
        "sequence authz.outbox_writer_writer_id_seq",
        "cache",
    ),
    _authz(
        "alter sequence authz.outbox_writer_writer_id_seq maxvalue 99",
        "sequence authz.outbox_writer_writer_id_seq",
        "maximum",
    ),
    _authz("create sequence authz.stray", "sequence authz.stray"),
    _authz("create view authz.stray as select id from authz.space", "view authz.stray"),
    _authz("create materialized view authz.stray as select id from authz.space", "materialized view authz.stray"),
    _authz("create policy stray on authz.space using (true)", "policy stray on authz.space"),
    _authz("create rule stray as on insert to authz.relay do instead nothing", "rule stray on authz.relay"),
    _authz("create statistics authz.stray on key, name from authz.space", "statistics authz.stray"),
    _authz("create publication stray for table authz.space", "publication stray"),
    _authz("create publication stray for all tables", "publication stray"),
    _authz(
        "create function public.f() returns event_trigger language plpgsql as 'begin end';"
        "create event trigger stray on ddl_command_end execute function public.f()",
        "event trigger stray",
        alone=False,
    ),
    _authz("create collation authz.stray (provider = libc, locale = 'C')", "collation authz.stray"),
    _authz("create extension hstore schema authz", "extension hstore"),
    _authz(
        "create subscription stray connection 'host=nowhere' publication p with (connect = false)", "subscription stray"
    ),
)

CLUSTER: Final = (
    _authz("alter role authz_app superuser", "role authz_app", "superuser"),
    _authz("alter role authz_app bypassrls", "role authz_app", "bypass_row_security"),
    _authz("alter role authz_app createdb", "role authz_app", "create_database"),
    _authz("alter role authz_app createrole", "role authz_app", "create_role"),
    _authz("alter role authz_app replication", "role authz_app", "replication"),
    _authz("alter role authz_app noinherit", "role authz_app", "no_inherit"),
    _authz("alter role authz_app connection limit 3", "role authz_app", "connection_limit"),
    _authz("alter role authz_app valid until '2020-01-01'", "role authz_app", "valid_until"),
    _authz("alter role authz_app nologin", "role authz_app", "login"),
    _authz("alter role authz_owner login", "role authz_owner", "login"),
    _authz("comment on role authz_app is 'mine'", "role authz_app", "comment"),
    _authz("grant authz_owner to authz_app", "role authz_app", "member_of.authz_owner"),
    _authz("grant pg_write_all_data to authz_app", "role authz_app", "member_of.pg_write_all_data"),
    _authz("grant authz_owner to authz_migrator with admin option", "role authz_migrator", "member_of.authz_owner"),
    _authz("revoke authz_owner from authz_migrator", "role authz_migrator", "member_of.authz_owner"),
    _authz("alter role authz_app set search_path = public", "settings of role authz_app"),
    _authz("alter role all set statement_timeout = '1s'", "settings of all roles"),
    _authz("grant set on parameter log_statement to authz_app", "role authz_app", "parameters.log_statement"),
    _authz(
        "grant execute on function pg_catalog.pg_read_file(text) to authz_app",
        "role authz_app",
        "system_objects.function pg_read_file(text)",
    ),
    _authz(
        "do $$ begin execute format('alter database %I set search_path = public', current_database()); end $$",
        "settings of this database",
    ),
    _authz(
        "do $$ begin execute format('alter role authz_app in database %I set work_mem = ''1GB''', current_database()); end $$",
        "settings of role authz_app in this database",
    ),
    _authz(
        "do $$ begin execute format('grant connect on database %I to public', current_database()); end $$",
        "database this",
        "grants.public",
    ),
    _authz(
        "do $$ begin execute format('alter database %I owner to authz_app', current_database()); end $$",
        "database this",
        "owner",
        alone=False,
    ),
    _authz(
        "do $$ begin execute format('alter database %I connection limit 7', current_database()); end $$",
        "database this",
        "connection_limit",
    ),
)

OF_SERVICES: Final = (
    *TABLES,
    *COLUMNS,
    *CONSTRAINTS,
    *INDEXES,
    *ROUTINES,
    *TRIGGERS,
    *PARTITIONS,
    *PRIVILEGES,
    *OTHERS,
    *CLUSTER,
)
