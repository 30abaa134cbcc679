"""Changes to tables, columns, constraints and indexes of the services' own schemas."""

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
    _authz("alter table authz.idempotency_key rename to kept", "table authz.idempotency_key", alone=False),
    _authz("alter table authz.idempotency_key set schema public", "table authz.idempotency_key", alone=False),
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
