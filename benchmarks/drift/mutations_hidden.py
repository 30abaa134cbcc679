"""Changes that hide: in PostgreSQL's own schemas, behind an extension, behind the name of a partition, behind a setting."""

from __future__ import annotations

from typing import Final

from benchmarks.drift.mutation import Mutation


def _authz(sql: str, object: str, attribute: str | None = None, *, alone: bool = True) -> Mutation:
    return Mutation(where="authz", sql=sql, object=object, attribute=attribute, alone=alone)


_DATABASE: Final = "do $$ begin execute format('alter database %I set {}', current_database()); end $$"

HIDDEN: Final = (
    _authz(
        "grant execute on function pg_catalog.pg_read_file(text) to public",
        "database this",
        "system_objects.function pg_catalog.pg_read_file(pg_catalog.text)",
    ),
    _authz(
        "grant select on pg_catalog.pg_authid to public", "database this", "system_objects.table pg_catalog.pg_authid"
    ),
    _authz(
        "grant select (rolpassword) on pg_catalog.pg_authid to public",
        "database this",
        "system_objects.table column pg_catalog.pg_authid.rolpassword",
    ),
    _authz("grant create on schema pg_catalog to public", "database this", "system_objects.schema pg_catalog"),
    _authz("create function pg_catalog.stray() returns integer language sql as 'select 1'", "function stray()"),
    _authz(
        "create function information_schema.stray() returns integer language sql as 'select 1'",
        "function information_schema.stray()",
    ),
    _authz(
        "create operator pg_catalog.=== (function = int4eq, leftarg = integer, rightarg = integer)",
        "operator ===(integer,integer)",
    ),
    _authz("create type pg_catalog.stray as enum ('a')", "type stray"),
    _authz(
        "create function authz.stray() returns integer language sql as 'select 1';"
        "alter extension plpgsql add function authz.stray()",
        "function authz.stray()",
        alone=False,
    ),
    _authz(
        "alter extension plpgsql add function authz.refuse_change()",
        "extension plpgsql",
        "added.function authz.refuse_change()",
    ),
    _authz("alter extension plpgsql add table authz.event", "extension plpgsql", "added.table authz.event"),
    # Dropping the extension must leave the table where it is.
    _authz("create extension hstore; alter extension hstore add table authz.event", "extension hstore"),
    _authz("create extension hstore schema authz; alter extension hstore add table authz.event", "extension hstore"),
    _authz(_DATABASE.format("default_transaction_read_only = on"), "settings of this database"),
    Mutation(
        where="audit",
        sql="create table audit.entry_0000007 partition of audit.entry for values from (7340032) to (8388608)",
        object="table audit.entry_0000007",
        attribute=None,
    ),
)
