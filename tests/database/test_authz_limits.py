"""No row of the permission graph holds more than a decision can carry: each limit broken by raw SQL, and none forgotten."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, get_args

import psycopg
import pytest

from services.authz.asking import MAX_PROPERTIES_BYTES, Text, Word
from shared.migrations.errors import ApplyFailed
from shared.migrations.files import LOCK_FILE, read_folder
from shared.migrations.lockfile import render_lock
from shared.migrations.runner import migrate_up
from shared.migrations.verify import verify
from tests.conftest import ServiceDatabase
from tests.database.authz_rows import TABLES, Connection, fill, insert, settle
from tests.database.conftest import owner_of

TEXT, WORD = get_args(Text)[1].max_length, get_args(Word)[1].max_length
PROSE = 2_000
# Column: how many characters it may have, and the name of the law.
LENGTHS: list[tuple[str, str, int, str]] = [
    ("user", "display_name", TEXT, "user_display_name_length"),
    ("space", "name", TEXT, "space_name_length"),
    ("group", "name", TEXT, "group_name_length"),
    ("member", "display_name", TEXT, "member_display_name_length"),
    ("member", "member_type", WORD, "member_type_length"),
    ("user_member", "relation_type", TEXT, "user_member_relation_type_length"),
    ("user_member", "revoked_reason", PROSE, "user_member_revoked_reason_length"),
    ("resource_type", "display_name", TEXT, "resource_type_display_name_length"),
    ("resource_type", "description", PROSE, "resource_type_description_length"),
    ("resource_action", "display_name", TEXT, "resource_action_display_name_length"),
    ("role", "name", TEXT, "role_name_length"),
    ("role", "description", PROSE, "role_description_length"),
    ("member_role", "revoked_reason", PROSE, "member_role_revoked_reason_length"),
    ("resource", "display_name", TEXT, "resource_display_name_length"),
    ("resource", "external_id", TEXT, "resource_external_id_length"),
]
FIRST, LAST = "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"
BEYOND = ("infinity", "-infinity", "10000-01-01T00:00:00Z", "9999-12-31T23:59:59-01", "0001-12-31T00:00:00Z BC")
REVOKED = {"status": "revoked"}
NEW = ("0005.text_lengths", "0006.text_lengths_valid")


def refused(graph: Connection, table: str, **changes: Any) -> str | None:
    """The name of the law that an insert breaks; the transaction goes on."""
    with pytest.raises(psycopg.errors.IntegrityError) as caught, graph.transaction():
        insert(graph, table, **changes)
    return caught.value.diag.constraint_name


def columns(graph: Connection, *types: str) -> list[tuple[str, str]]:
    """Every column of the graph's tables that has one of these types or domains."""
    rows = graph.execute(
        "select table_name, column_name from information_schema.columns where table_schema = 'authz'"
        " and coalesce(domain_name, data_type) = any(%s) and table_name = any(%s) order by 1, 2",
        [list(types), list(TABLES)],
    ).fetchall()
    return [(table, column) for table, column in rows]


@pytest.mark.parametrize("table, column, limit, constraint", LENGTHS)
def test_a_text_may_be_as_long_as_its_limit_and_no_longer(graph, table, column, limit, constraint):
    extra = REVOKED | {"revoked_at": FIRST} if column == "revoked_reason" else {}
    assert refused(graph, table, **extra, **{column: "€" * (limit + 1)}) == constraint
    insert(graph, table, **extra, **{column: "€" * limit})
    settle(graph)


def test_a_kind_of_member_is_a_word(graph):
    assert refused(graph, "member", member_type="") == "member_type_length"


def test_no_text_is_without_a_limit(graph):
    found = columns(graph, "text", "identifier", "character varying")
    assert {(table, column) for table, column, *_ in LENGTHS} < set(found)
    for table, column in found:
        assert refused(graph, table, **{column: "x" * 20_000}) is not None, (table, column)


def test_no_document_is_without_a_limit(graph):
    found = columns(graph, "json_object", "jsonb", "json")
    assert {table for table, column in found if column == "metadata"} == set(TABLES)
    for table, column in found:
        assert refused(graph, table, **{column: {"a": "x" * MAX_PROPERTIES_BYTES}}) == f"{table}_{column}_size"


@pytest.mark.parametrize("table", TABLES)
def test_metadata_may_have_half_as_many_bytes_as_properties_and_no_more(graph, table):
    # Half, so that an event can hold the largest row twice: as it was before, and after.
    room = MAX_PROPERTIES_BYTES // 2 - len('{"a": ""}')
    assert refused(graph, table, metadata={"a": "é" + "x" * (room - 1)}) == f"{table}_metadata_size"
    insert(graph, table, metadata={"a": "é" + "x" * (room - 2)})


def test_every_time_is_within_the_years_that_can_be_read(graph):
    found = columns(graph, "timestamp with time zone")
    assert {table for table, _ in found} == set(TABLES)
    for table, column in found:
        extra = REVOKED if column == "revoked_at" else {}
        for moment in BEYOND:
            with graph.transaction(force_rollback=True):
                name = refused(graph, table, **extra, **{column: moment})
                assert name == f"{table}_times_representable", (column, moment)
        for moment in (FIRST, LAST):
            with graph.transaction(force_rollback=True):
                insert(graph, table, **extra, **{column: moment})


def test_every_law_is_known_to_hold_for_the_rows_that_were_there_before_it(graph):
    unproved = graph.execute("select conname from pg_constraint where not convalidated").fetchall()
    assert unproved == []


@pytest.fixture
def release_before(tmp_path: Path) -> Path:
    """The folder of authz's migrations as it was before the limits came."""
    return folder_before(NEW[0], tmp_path / "before" / "authz")


@pytest.fixture
def release_with(tmp_path: Path) -> Path:
    """The folder of authz's migrations as it was when the limits came."""
    return folder_before("0007", tmp_path / "with" / "authz")


def folder_before(first: str, path: Path) -> Path:
    """Copy authz's migrations up to one, which isn't copied."""
    shutil.copytree(read_folder("authz").path, path)
    for file in path.glob("*.sql"):
        if file.name >= first:
            file.unlink()
    (path / LOCK_FILE).write_text(render_lock(read_folder("authz", path)), encoding="utf-8")
    return path


def laws(database: ServiceDatabase) -> set[tuple[str, str]]:
    """Every constraint of the graph with its definition."""
    with owner_of(database) as connection:
        rows = connection.execute(
            "select conrelid::regclass::text || '.' || conname, pg_get_constraintdef(oid) from pg_constraint"
            " where connamespace = 'authz'::regnamespace"
        ).fetchall()
    return {(name, definition) for name, definition in rows}


def test_a_database_in_use_gets_the_limits_and_can_be_rid_of_them(
    empty_database: ServiceDatabase, release_before: Path, release_with: Path
):
    migrate_up("authz", empty_database.owner_dsn, release_before)
    with owner_of(empty_database) as connection:
        fill(connection)
    before = laws(empty_database)
    assert migrate_up("authz", empty_database.owner_dsn, release_with) == list(NEW)
    assert verify("authz", empty_database.owner_dsn, release_with) == []
    after = laws(empty_database)
    assert before < after
    assert not [name for name, definition in after - before if "NOT VALID" in definition]
    rollbacks = {migration.id: migration.rollback_content for migration in read_folder("authz").migrations}
    with owner_of(empty_database) as connection:
        for id in reversed(NEW):
            content = rollbacks[id]
            assert content is not None
            connection.execute(content)
    assert laws(empty_database) == before


def test_a_row_that_is_too_long_already_stops_the_proof_by_the_name_of_the_law_and_can_be_mended(
    empty_database: ServiceDatabase, release_before: Path, release_with: Path
):
    migrate_up("authz", empty_database.owner_dsn, release_before)
    with owner_of(empty_database) as connection:
        insert(connection, "space", name="x" * (TEXT + 1))
    with pytest.raises(ApplyFailed, match="space_name_length"):
        migrate_up("authz", empty_database.owner_dsn, release_with)
    with owner_of(empty_database) as connection:
        connection.execute("update authz.space set name = left(name, 256)")
    assert migrate_up("authz", empty_database.owner_dsn, release_with) == [NEW[-1]]
