"""Changes to the services' own schemas, one for each kind of object and attribute that they have."""

from __future__ import annotations

from typing import Final

from benchmarks.drift.mutation import Mutation
from benchmarks.drift.mutations_hidden import HIDDEN
from benchmarks.drift.mutations_tables import COLUMNS, CONSTRAINTS, INDEXES, TABLES


def _authz(sql: str, object: str, attribute: str | None = None, *, alone: bool = True, since: int = 15) -> Mutation:
    return Mutation(where="authz", sql=sql, object=object, attribute=attribute, alone=alone, since=since)


def _audit(sql: str, object: str, attribute: str | None = None, *, alone: bool = True, since: int = 15) -> Mutation:
    return Mutation(where="audit", sql=sql, object=object, attribute=attribute, alone=alone, since=since)


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
    *HIDDEN,
)
