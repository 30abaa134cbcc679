"""A database of the release before, with its data, is brought to this one's schema: nothing is lost, and that release goes on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

import asyncpg
import psycopg
import pytest
from psycopg import sql

from shared.embedded.server import EmbeddedPostgres
from shared.migrations.bootstrap import SERVICES
from shared.migrations.files import default_folder, read_folder
from shared.migrations.lockfile import required_migrations
from shared.migrations.runner import migrate_up
from shared.migrations.schema import check_schema
from shared.migrations.verify import verify
from shared.queries.check import check_queries
from shared.queries.lock import QUERIES_LOCK_FILE, render_lock, texts_of
from shared.queries.locking import lock_queries
from tests.conftest import ServiceDatabase, connect, fresh_database
from tests.releases.previous import folder_of, install_previous

# Statements of the release before that this schema does away with, each with the reason why nobody misses it. Before the
# first release nobody is bound to a window; from then on a statement may come here only when its release is out of use.
GIVEN_UP: Final[dict[tuple[str, str], str]] = {}

NOW: Final = datetime(2026, 12, 1, tzinfo=UTC)
CREDENTIAL: Final = object()  # the id of a key that there is
LAST_ROW: Final = object()  # what a projection is given: the row that the last event of its kind left
# What each statement is executed with, so that a read finds something and a write takes place.
PARAMETERS: Final[dict[str, dict[str, list[Any]]]] = {
    "authz": {
        "load_actors": [["user_alice"], ["space_acme"], ["member_finance_reviewer"], ["um_alice_finance_reviewer"]],
        "load_roles": [["role_finance_approver"]],
        "load_resources": [["invoice"], ["invoice_001"]],
        "load_registry": [],
        "read_revision": [],
        "read_changes_after": [0, 100],
        "lock_events": [],
        "append_event": [37, uuid4(), NOW, "user.created", None, "user", "user_c", None, "{}", None, "req", None],
        "check_deferred": [],
        "notify_changes": ["36"],
        "find_changes_writer": [],
        "register_writer": ["authz-2", 1, "decisions"],
        "hold_writer": [1],
        "record_events": [1, 12, 13, ["00-1-2-01"], b"{}"],
        "read_backlog": [],
        "read_relay": [],
        "lead_relay": [],
        "read_undelivered": [1_000_000, 1_000],
        "mark_delivered": [[1], [11]],
        "mark_drained": [[1]],
        "find_ended_writers": [],
        "note_relay_seen": ["authz-1/relay", NOW, 5],
        "note_relay_error": ["audit is away"],
        "refuse_event": [1, 1, "event_conflict", b"{}"],
        "reclaim_outbox": [],
        "find_credential": [CREDENTIAL],
        "read_migrations": [],
        **{
            f"project_{noun}": [LAST_ROW]
            for noun in (
                "user",
                "space",
                "group",
                "member",
                "user_member",
                "resource_type",
                "resource_action",
                "role",
                "permission",
                "role_permission",
                "member_role",
                "resource",
            )
        },
        "read_user_member": ["um_alice_finance_reviewer"],
        "space_exists": ["space_acme"],
    },
    "audit": {
        "lead_log": [],
        "read_head": [],
        "ensure_partition": [1_048_576],
        "find_log_indexes": [LAST_ROW],
        "find_leaf_hashes": [[0, 1]],
        "read_log_size": [],
        "find_index_at": [NOW],
        "list_entries": [0, 100, 10, None, "space_acme", *[None] * 8],
        "get_entry": [LAST_ROW],
        "find_credential": [CREDENTIAL],
        "read_migrations": [],
    },
}
# What must have happened before, in the same transaction, for a write to find something.
FIRST: Final = {"mark_drained": "mark_delivered"}
STATEMENTS: Final = [(service, name) for service in SERVICES for name in PARAMETERS[service]]
Content = dict[str, tuple[list[str], list[str]]]


def old_database(server: EmbeddedPostgres, service: str) -> Iterator[ServiceDatabase]:
    with fresh_database(server, service) as database:
        install_previous(service, database.owner_dsn, database.superuser_dsn)
        yield database


@pytest.fixture(params=SERVICES)
def old(request: pytest.FixtureRequest, server: EmbeddedPostgres) -> Iterator[ServiceDatabase]:
    """A database as the release before left it, of one service after the other."""
    yield from old_database(server, request.param)


@pytest.fixture(scope="module")
def upgraded(server: EmbeddedPostgres) -> Iterator[dict[str, ServiceDatabase]]:
    """Both databases of the release before, brought to this one's schema; no test changes them for good."""
    with fresh_database(server, "authz") as authz, fresh_database(server, "audit") as audit:
        for database in (authz, audit):
            install_previous(database.service, database.owner_dsn, database.superuser_dsn)
            migrate_up(database.service, database.owner_dsn)
        yield {"authz": authz, "audit": audit}


def content(database: ServiceDatabase, before: Content | None = None) -> Content:
    """Every row of every table, in the columns that are there, or that there were before."""
    query = (
        "select c.relname, array_agg(a.attname::text order by a.attnum) from pg_class c"
        " join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped"
        " where c.relnamespace = %s::regnamespace and c.relkind in ('r', 'p') and not c.relispartition group by 1"
    )
    found: Content = {}
    with connect(database.superuser_dsn) as superuser:
        for table, columns in superuser.execute(query, [database.service]).fetchall():
            if before is not None and table not in before:
                continue
            kept = columns if before is None else before[table][0]
            select = sql.SQL("select row_to_json(t)::text from (select {} from {}) t").format(
                sql.SQL(", ").join(map(sql.Identifier, kept)), sql.Identifier(database.service, table)
            )
            found[table] = (kept, sorted(row for (row,) in superuser.execute(select).fetchall()))
    return found


def test_the_data_of_the_release_before_has_something_in_every_table(old):
    assert all(rows for _, rows in content(old).values())


def test_every_row_is_still_there_and_unchanged_after_the_upgrade(old):
    before = content(old)
    applied = migrate_up(old.service, old.owner_dsn)
    assert applied
    assert [*installed(old.service), *applied] == list(required_migrations(old.service))
    assert verify(old.service, old.owner_dsn) == []
    after = content(old, before)
    assert after == before


def drift(database: ServiceDatabase) -> list[str]:
    with connect(database.superuser_dsn) as connection:
        return [one.object for one in check_schema(database.service, connection).differences]


def test_before_the_upgrade_bookkeeping_that_it_will_add_is_no_drift_and_other_is(old):
    assert drift(old) == []
    with connect(old.superuser_dsn) as connection:
        connection.execute("alter table public._migration_ledger drop column applied_by cascade")
        connection.execute("alter table public._migration_ledger add column applied_by text not null default ''")
    assert "column public._migration_ledger.applied_by" in drift(old)


def test_the_schema_is_the_one_that_an_empty_database_gets(old):
    migrate_up(old.service, old.owner_dsn)
    assert drift(old) == []
    assert check_queries(old.service, old.app_dsn) == []
    with connect(old.superuser_dsn) as connection:
        connection.execute("alter table public._migration_ledger drop column schema_digest")
    assert drift(old) == ["column public._migration_ledger.schema_digest"]


def installed(service: str) -> list[str]:
    return [migration.id for migration in read_folder(service, folder_of(service) / "migrations").migrations]


@pytest.mark.parametrize("service", SERVICES)
def test_no_migration_that_landed_was_changed(service):
    for file in (folder_of(service) / "migrations").glob("*.sql"):
        assert (default_folder(service) / file.name).read_bytes() == file.read_bytes(), file.name


def test_what_is_written_down_of_the_statements_before_is_what_their_schema_says(old):
    folder = folder_of(old.service)
    with psycopg.connect(old.app_dsn, autocommit=True) as connection:
        texts = {"queries.sql": texts_of(folder)["queries.sql"]}
        wanted = render_lock(lock_queries(old.service, connection, texts, folder))
    assert (folder / QUERIES_LOCK_FILE).read_bytes() == wanted


@pytest.mark.parametrize("service", SERVICES)
def test_the_statements_of_the_release_before_take_and_give_the_same_on_this_schema(upgraded, service):
    found = check_queries(service, upgraded[service].app_dsn, folder_of(service))
    assert {(service, one.subject.partition(" ")[2]) for one in found} == {one for one in GIVEN_UP if one[0] == service}


@pytest.mark.parametrize("service", SERVICES)
def test_every_statement_of_the_release_before_is_executed(service):
    assert list(PARAMETERS[service]) == list(texts_of(folder_of(service))["queries.sql"])


@pytest.mark.parametrize(("service", "name"), STATEMENTS)
async def test_a_statement_of_the_release_before_does_its_work_on_this_schema(upgraded, service, name):
    statements = texts_of(folder_of(service))["queries.sql"]
    statement = statements[name]
    connection = await asyncpg.connect(upgraded[service].app_dsn)
    transaction = connection.transaction()
    await transaction.start()
    try:
        if name in FIRST:
            await connection.fetch(statements[FIRST[name]], *PARAMETERS[service][FIRST[name]])
        values = [await given(connection, service, name, value) for value in PARAMETERS[service][name]]
        if (service, name) in GIVEN_UP:
            with pytest.raises(asyncpg.PostgresError):
                await connection.fetch(statement, *values)
            return
        prepared = await connection.prepare(statement)
        rows = await prepared.fetch(*values)
        assert rows or not prepared.get_attributes()
        if statement.startswith(("insert", "update")):
            assert prepared.get_statusmsg().rpartition(" ")[2] != "0"
    finally:
        await transaction.rollback()
        await connection.close()


async def given(connection: asyncpg.Connection, service: str, name: str, value: Any) -> Any:
    """What a statement is given for a value that only the data knows."""
    if value is CREDENTIAL:
        return await connection.fetchval(f"select min(credential_id) from {service}.credential")
    if value is not LAST_ROW:
        return value
    if service == "audit":
        event_id = await connection.fetchval("select event_id::text from audit.entry where log_index = 41")
        return [event_id] if name == "find_log_indexes" else event_id
    query = "select after::text from authz.event where entity_type = $1 order by revision desc limit 1"
    return await connection.fetchval(query, name.removeprefix("project_"))
