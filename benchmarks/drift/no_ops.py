"""Things that happen to every database and change nothing in its schema: the check has to stay silent."""

from __future__ import annotations

from typing import Final

from benchmarks.drift.mutation import NoOp


def _authz(name: str, sql: str) -> NoOp:
    return NoOp(where="authz", name=name, sql=sql)


def _audit(name: str, sql: str) -> NoOp:
    return NoOp(where="audit", name=name, sql=sql)


def _zoo(name: str, sql: str) -> NoOp:
    return NoOp(where="fixture", name=name, sql=sql)


_SPACE: Final = "insert into authz.space values ('s', 'acme', 'Acme', 'active', '{}', now(), now(), 1)"
NO_OPS: Final = (
    _authz("nothing at all", "select 1"),
    _authz("vacuum", "vacuum"),
    _authz("vacuum full", "vacuum full authz.space"),
    _authz("analyze", "analyze"),
    _authz("reindex a schema", "reindex schema authz"),
    _authz("reindex without locking", "reindex table concurrently authz.space"),
    _authz("cluster and forget", "cluster authz.space using space_pkey;\nalter table authz.space set without cluster"),
    _authz("rows are added", _SPACE),
    _authz("rows are changed", f"{_SPACE};\nupdate authz.space set name = 'Other'"),
    _authz("slots are emptied", "truncate authz.outbox_1"),
    _authz(
        "a table is renamed there and back", "alter table authz.relay rename to r;\nalter table authz.r rename to relay"
    ),
    _authz(
        "a column is renamed there and back",
        "alter table authz.space rename name to n;\nalter table authz.space rename n to name",
    ),
    _authz(
        "an index is dropped and made again",
        "drop index authz.event_space_idx;\ncreate index event_space_idx on authz.event (space_id, revision)",
    ),
    _authz(
        "an index is made without locking",
        "drop index authz.event_space_idx;\n"
        "create index concurrently event_space_idx on authz.event using btree (space_id, revision asc nulls last)",
    ),
    _authz(
        "a check is dropped and made again",
        "alter table authz.space drop constraint space_name_length;\n"
        "alter table authz.space add constraint space_name_length check (length(name) <= 256)",
    ),
    _authz(
        "a check is made unproved and then proved",
        "alter table authz.space drop constraint space_name_length;\n"
        "alter table authz.space add constraint space_name_length check (length(name) <= 256) not valid;\n"
        "alter table authz.space validate constraint space_name_length",
    ),
    _authz(
        "a check is read again from how it is written",
        "do $$ declare text text := (select pg_get_constraintdef(oid) from pg_constraint where conname = 'identifier_form');"
        " begin alter domain authz.identifier drop constraint identifier_form;"
        " execute 'alter domain authz.identifier add constraint identifier_form ' || text; end $$",
    ),
    _authz(
        "a default is written in other words",
        "alter table authz.space alter column status set default cast('active' as text)",
    ),
    _authz(
        "a column is added and dropped",
        "alter table authz.space add column n text;\nalter table authz.space drop column n",
    ),
    _authz(
        "a trigger is switched off and on",
        (
            "alter table authz.event disable trigger event_is_insert_only;\n"
            "alter table authz.event enable always trigger event_is_insert_only"
        ),
    ),
    _authz(
        "foreign keys are switched off and on",
        ("alter table authz.member disable trigger all;\nalter table authz.member enable trigger all"),
    ),
    _authz(
        "a grant is given and taken",
        "grant delete on authz.space to authz_app;\nrevoke delete on authz.space from authz_app",
    ),
    _authz("a grant is given twice", "grant select on authz.space to authz_app"),
    _authz("an owner is given its own rights by name", "grant all on public._yoyo_log to authz_owner"),
    _authz(
        "an owner goes and comes",
        (
            "alter sequence authz.outbox_writer_writer_id_seq cache 5;\nalter sequence authz.outbox_writer_writer_id_seq cache 1"
        ),
    ),
    _authz("a sequence moves on", "select nextval('authz.outbox_writer_writer_id_seq') from generate_series(1, 50)"),
    _authz("a sequence is set", "alter sequence authz.outbox_writer_writer_id_seq restart with 1000"),
    _authz("a setting of the session", "set search_path = authz, public;\nset datestyle = 'German'"),
    _authz(
        "a member more for the readers",
        "do $$ begin if to_regrole('drift_reader') is null then create role drift_reader login; end if; end $$;\n"
        "grant authz_reader to drift_reader",
    ),
    _authz("another database", "create database drift_another;\ndrop database drift_another"),
    _authz("a login of somebody else", "create role drift_stranger login superuser;\ndrop role drift_stranger"),
    _authz("a temporary table", "create temporary table t (id integer)"),
    _authz("a setting is set and reset", "alter role authz_app set work_mem = '8MB';\nalter role authz_app reset all"),
    _authz("a comment comes and goes", "comment on table authz.space is 'x';\ncomment on table authz.space is null"),
    _authz(
        "statistics are forgotten",
        "alter table authz.space alter column key set statistics 9;\n"
        "alter table authz.space alter column key set statistics -1",
    ),
    _authz(
        "a function is replaced by itself",
        ("do $$ begin execute pg_get_functiondef('authz.reclaim_outbox()'::regprocedure); end $$"),
    ),
    _audit("a partition more", "select audit.ensure_partition(5 << 20)"),
    _audit("ten partitions more", "select audit.ensure_partition(n << 20) from generate_series(2, 11) n"),
    _audit("partitions in another order", "select audit.ensure_partition(n << 20) from unnest('{9,4,7}'::bigint[]) n"),
    _audit("a large object", "select lo_create(0)"),
    _audit("vacuum of the log", "vacuum (freeze, analyze) audit.entry"),
    _zoo(
        "views are replaced by themselves",
        ("do $$ begin execute 'create or replace view zoo.old_adults as ' || pg_get_viewdef('zoo.old_adults'); end $$"),
    ),
    _zoo("a materialized view is refreshed", "refresh materialized view concurrently zoo.census"),
    _zoo("a policy is replaced by itself", "alter policy keeper_sees on zoo.keeper using (name <> 'secret')"),
    _zoo("a label comes twice", "alter type zoo.colour add value if not exists 'red'"),
)
