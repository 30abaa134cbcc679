"""Every statement of authz is prepared against the migrated schema, as the service's own role.

Its parameters, its columns and its rights are compared with what the code gives, reads and has.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, get_args

import asyncpg
import msgspec
import psycopg
import pytest

from services.authz import store
from services.authz.backlog import RelayState
from services.authz.directory import LISTING, READING, READING_MANY
from services.authz.journal import MAKING, PROJECTING, WRITES
from services.authz.maintenance import Closed
from services.authz.model import ActorIds
from services.authz.nouns import NOUNS
from services.authz.policies import OF_SPACE
from services.authz.policies import READS as POLICIES
from services.authz.relay import Commit
from services.authz.store import SQL, ChangedRow
from shared.credentials import Credential
from shared.migrations.lockfile import APPLIED_MIGRATIONS_SQL
from tests.conftest import ServiceDatabase
from tests.database.authz_rows import insert

SOURCES = Path(store.__file__).parent

FACTS = ["revision", "facts"]
# Name: the types of its parameters, the columns of its rows.
STATEMENTS: dict[str, tuple[list[str], list[str]]] = {
    "load_actors": (["text[]"] * 4, ["user_id", "space_id", "member_id", "user_member_id", *FACTS]),
    "load_roles": (["text[]"], ["role_id", *FACTS]),
    "load_resources": (["text[]"] * 2, ["resource_type", "id", *FACTS]),
    "load_registry": ([], FACTS),
    "read_revision": ([], ["revision"]),
    "read_changes_after": (["int8", "int8"], sorted(ChangedRow.__struct_fields__)),
    "lock_events": ([], ["pg_advisory_xact_lock"]),
    "check_deferred": ([], []),
    "notify_changes": (["text"], ["pg_notify"]),
    "find_changes_writer": ([], ["writer_id", "source", "epoch"]),
    "register_writer": (["text", "int8", "text"], ["writer_id"]),
    "hold_writer": (["int4"], ["pg_advisory_lock"]),
    "record_events": (["int8", "int8", "int8", "text[]", "bytea", "int8"], []),
    "read_backlog": ([], ["writer_id", "source", "waiting", "oldest_at"]),
    "read_relay": ([], sorted(RelayState.__struct_fields__)),
    "lead_relay": ([], ["leads"]),
    "read_undelivered": (["int8", "numeric", "numeric"], sorted(Commit.__struct_fields__)),
    "mark_delivered": (["int8[]", "int8[]"], []),
    "mark_drained": (["int8[]"], []),
    "find_ended_writers": ([], ["writer_id"]),
    "note_relay_seen": (["text", "timestamptz", "int8"], []),
    "note_relay_error": (["text"], []),
    "refuse_event": (["int8", "int8", "text", "bytea"], []),
    "reclaim_outbox": ([], ["emptied"]),
    "find_credential": (["text"], sorted(Credential.__struct_fields__)),
    "read_migrations": ([], ["id"]),
    "has_maintenance": ([], ["found"]),
    "read_maintenance": ([], sorted(Closed.__struct_fields__)),
    "space_exists": (["text"], ["found"]),
    "read_last_event": ([], ["occurred_at"]),
    "row_was_made": (["text", "text"], ["found"]),
    "resource_type_exists": (["text"], ["found"]),
    "find_group_path": (["text", "text"], ["path"]),
    "find_revoked_grants": (["text[]"] * 4, ["row"]),
    "find_idempotent_answer": (["text", "text", "timestamptz"], ["answer", "request_digest"]),
    "keep_idempotent_answer": (["text", "text", "bytea", "jsonb", "timestamptz"], []),
    "forget_idempotent_answers": (["timestamptz"], []),
}
# Name: the same for the statements that are made for each noun, and those that write.
MADE: dict[str, tuple[str, list[str], list[str]]] = {
    **{f"project {n}": (PROJECTING[n], ["jsonb"], ["is_new", *NOUNS[n].identity]) for n in NOUNS},
    **{f"make {n}": (MAKING[n], ["jsonb"], []) for n in NOUNS},
    **{f"read {n}": (READING[n], ["text"] * len(NOUNS[n].identity), ["row"]) for n in NOUNS},
    **{f"read many {n}": (READING_MANY[n], ["text[]"] * len(NOUNS[n].identity), ["row"]) for n in NOUNS},
    **{
        f"list {n}": (
            LISTING[n],
            ["int8"] + ["text"] * (len(NOUNS[n].identity) + NOUNS[n].in_space + len(NOUNS[n].filters) + 1),
            ["row"],
        )
        for n in NOUNS
    },
    "append_events": (
        WRITES["append_events"],
        ["timestamptz", "text", "text", "int8[]", "uuid[]", *["text[]"] * 4, "jsonb[]", "jsonb[]", "text[]"],
        [],
    ),
    **{
        f"read {n} of a space": (POLICIES["read_rows_of_space"].format(table=f"authz.{n}"), ["text"], ["id", "row"])
        for n in OF_SPACE
    },
    "read_permissions": (POLICIES["read_permissions"], [], ["id", "row"]),
    "list_resource_classes": (
        POLICIES["list_resource_classes"],
        ["text", "text[]", "bool", "int8"],
        ["resource_type", "group_id", "owner_member_id", "properties", "count", "ids"],
    ),
    "move_below": (WRITES["move_below"], ["text", "text", "text", "int8", "timestamptz"], []),
}


@pytest.fixture
async def app(graph_database: ServiceDatabase) -> AsyncIterator[asyncpg.Connection]:
    """A connection as the service has."""
    connection = await asyncpg.connect(graph_database.app_dsn)
    yield connection
    await connection.close()


@pytest.mark.parametrize("name", SQL)
async def test_a_statement_takes_the_parameters_and_gives_the_columns_that_the_code_knows(app, name):
    prepared = await app.prepare(SQL[name])
    parameters, columns = STATEMENTS[name]
    assert [spelled(one) for one in prepared.get_parameters()] == parameters
    found = [attribute.name for attribute in prepared.get_attributes()]
    assert (found if found == columns else sorted(found)) == columns


@pytest.mark.parametrize("name", MADE)
async def test_a_statement_that_is_made_for_a_noun_is_one_that_the_service_may_run(app, name):
    statement, parameters, columns = MADE[name]
    prepared = await app.prepare(statement)
    assert [spelled(one) for one in prepared.get_parameters()] == parameters
    assert sorted(attribute.name for attribute in prepared.get_attributes()) == sorted(columns)
    await app.execute(f"explain (generic_plan) {statement}")


@pytest.mark.parametrize("name", SQL)
async def test_the_services_role_has_the_rights_that_a_statement_needs(app, name):
    # Rights are checked when a plan is begun, not when it is made.
    if not SQL[name].startswith("set "):
        await app.execute(f"explain (generic_plan) {SQL[name]}")


async def test_a_right_that_is_missing_would_show(app):
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await app.execute("explain (generic_plan) update authz.event set kind = $1")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await app.execute("explain (generic_plan) delete from authz.outbox")


def test_the_table_above_knows_every_statement_and_no_other():
    assert list(STATEMENTS) == list(SQL)


def test_every_statement_is_used_and_every_one_that_is_used_is_there():
    text = "\n".join(file.read_text(encoding="utf-8") for file in SOURCES.rglob("*.py"))
    used = set(re.findall(r'SQL\["(\w+)"\]', text))
    assert used == set(SQL)


@pytest.mark.parametrize("name", SQL)
def test_a_statement_names_the_schema_of_every_table_and_is_written_in_lowercase(name):
    statement = re.sub(r"'[^']*'", "''", SQL[name])
    assert statement == statement.lower()
    for table in re.findall(r"\b(?:from|join|insert into|update)\s+([a-z_.]+)(?![a-z_.(])", statement):
        assert table.startswith(("authz.", "public.", "pg_")) or table in {"set", "lateral"}, table


def test_every_statement_says_in_one_sentence_what_it_does():
    text = "".join(file.read_text(encoding="utf-8") for file in sorted(SOURCES.glob("*.sql")))
    parts = re.split(r"^-- name: (\w+)$", text, flags=re.MULTILINE)
    for name, text in zip(parts[1::2], parts[2::2], strict=True):
        assert re.match(r"\n-- [A-Z][^\n]*[.;,:a-z]\n", text), name


def test_the_service_and_the_migration_tool_ask_for_the_applied_migrations_alike():
    assert SQL["read_migrations"] == APPLIED_MIGRATIONS_SQL


@pytest.mark.parametrize("entity", NOUNS)
async def test_a_projection_writes_every_column_of_its_table(app, entity):
    columns = [
        record["column_name"]
        for record in await app.fetch(
            "select column_name from information_schema.columns where table_schema = 'authz' and table_name = $1",
            entity,
        )
    ]
    statement, row = PROJECTING[entity], NOUNS[entity].row
    key = re.search(r"on conflict \(([^)]*)\)", statement)
    assert key is not None
    written = re.findall(r"(\w+) = excluded\.(\w+)", statement)
    assert all(left == right for left, right in written)
    assert sorted([left for left, _ in written] + key[1].split(", ")) == sorted(columns)
    assert set(columns) == set(row.__struct_fields__) | {"created_at", "updated_at", "revision"}


async def test_the_facts_have_exactly_the_fields_of_their_structs(app, graph_database):
    await everything_given(graph_database)
    ids = ActorIds(member_id="m9", space_id="s1", user_id="u9", user_member_id="um9")
    (actor,) = await app.fetch(SQL["load_actors"], ["u9"], ["s1"], ["m9"], ["um9"])
    (role,) = await app.fetch(SQL["load_roles"], ["r9"])
    (resource,) = await app.fetch(SQL["load_resources"], ["doc"], ["x9"])
    registry = await app.fetchrow(SQL["load_registry"])
    assert_same_fields(msgspec.json.decode(actor["facts"]), store.StoredActor)
    assert_same_fields(msgspec.json.decode(role["facts"]), store.StoredRole)
    assert_same_fields(msgspec.json.decode(resource["facts"]), store.StoredResource)
    for registered in msgspec.json.decode(registry["facts"]).values():
        assert_same_fields(registered, store.RegisteredType)
    read = (await store.load_actors(app, [ids]))[ids].value
    assert read.user_member is not None
    assert read.user_member.expires_at is not None
    assert read.user_member.expires_at.utcoffset() is not None


async def everything_given(database: ServiceDatabase) -> None:
    """One row of each kind with no column left null, beside what is there; made once."""
    with psycopg.connect(database.app_dsn) as connection:
        if connection.execute("select 1 from authz.user where id = 'u9'").fetchone():
            return
        day = {"not_before": "2026-01-01", "expires_at": "2030-01-01"}
        space = {"space_id": "s1"}
        insert(connection, "user", id="u9", email="u9@example.com", display_name="U")
        insert(connection, "member", id="m9", **space)
        insert(connection, "user_member", id="um9", user_id="u9", member_id="m9", expires_at="2030-01-01", **space)
        insert(connection, "permission", id="p9", condition={"a": 1})
        insert(connection, "role", id="r9", key="full", **space)
        insert(connection, "role_permission", id="rp9", role_id="r9", permission_id="p9", **space)
        anchored = {"scope_anchor_group_id": "g1"}
        insert(connection, "member_role", id="mr9", member_id="m9", role_id="r9", **anchored, **day, **space)
        given = {"external_id": "e", "group_id": "g1", "owner_member_id": "m9", "properties": {"a": 1}}
        insert(connection, "resource", id="x9", **given, **space)


def assert_same_fields(value: Any, kind: Any, place: str = "$") -> None:
    """Compare the keys of decoded JSON with the fields of the Struct that it fills, all the way down."""
    kinds = [one for one in (get_args(kind) or (kind,)) if one is not type(None)]
    inner = kinds[0]
    if isinstance(value, list):
        assert value, place
        for one in value:
            assert_same_fields(one, inner, f"{place}[]")
    elif isinstance(inner, type) and issubclass(inner, msgspec.Struct):
        assert sorted(value) == sorted(inner.__struct_fields__), place
        for field in msgspec.structs.fields(inner):
            assert_same_fields(value[field.name], field.type, f"{place}.{field.name}")
    else:
        assert value is not None, place


def spelled(one: asyncpg.Type) -> str:
    return f"{one.name.removesuffix('[]').removeprefix('_')}[]" if one.kind == "array" else str(one.name)
