"""`migrate repair` and `baseline` record what the live schema proves, refuse everything else, and never change the schema."""

from __future__ import annotations

import json

import psycopg
import pytest

from shared.catalogue.schema_lock import SCHEMA_LOCK_FILE, read_schema_lock, render_schema_lock
from shared.migrations import files
from shared.migrations.errors import ExitCode, Refused, UsageError
from shared.migrations.expected import by_schema_lock, digest_of_schema
from shared.migrations.files import read_folder
from shared.migrations.repair import baseline, repair
from shared.migrations.replay import replay
from shared.migrations.runner import HasFindings, SchemaDiffers, migrate_up, migration_status
from shared.migrations.verify import verify
from tests.conftest import fresh_database

INDEX = "create unique index concurrently second_key on authz.second (id);"


@pytest.fixture
def folder(server, two_tables):
    """Two tables, an index and a data migration, with the catalogue that they are expected to make."""
    two_tables.add("0003.index", INDEX, transactional="false", indexes="+authz.second_key")
    two_tables.add("0004.data", "delete from authz.first where id < 0;", transactional="false", kind="data")
    write_lock_files(server, two_tables)
    return two_tables


def write_lock_files(server, folder):
    folder.lock()
    with fresh_database(server, "authz") as scratch:
        lock = replay("authz", scratch.owner_dsn, folder.path)
    (folder.path / SCHEMA_LOCK_FILE).write_text(render_schema_lock(lock))


@pytest.fixture
def migrated(empty_database, folder):
    migrate_up("authz", empty_database.owner_dsn, folder.path)
    return empty_database


def execute(database, *statements):
    with psycopg.connect(database.superuser_dsn, autocommit=True) as connection:
        for statement in statements:
            cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def mend(database, folder, **options):
    settled = repair("authz", database.owner_dsn, by_schema_lock("authz", folder.path), folder.path, **options)
    return [(each.id, each.was, each.is_now) for each in settled]


def books(database):
    tables = ("_migration_ledger", "_yoyo_migration", "_yoyo_log")
    return [execute(database, f"select * from public.{table} order by 1") for table in tables]


STARTED = "update public._migration_ledger set state = 'started', applied_at = null where id = '{}'"
NO_ROW = "delete from public._migration_ledger where id = '{}'"
NO_MARK = "delete from public._yoyo_migration where migration_id = '{}'"
NO_INDEX = "drop index authz.second_key"
INVALID_INDEX = "update pg_index set indisvalid = false where indexrelid = 'authz.second_key'::regclass"
APPLIED, NOT_APPLIED = "recorded as applied", "recorded as not applied"


@pytest.mark.parametrize("code, change", [("interrupted", STARTED), ("unrecorded", NO_ROW), ("unmarked", NO_MARK)])
def test_what_the_schema_shows_as_applied_is_recorded_as_applied(migrated, folder, code, change):
    execute(migrated, change.format("0003.index"))
    assert [fault.code for fault in verify("authz", migrated.owner_dsn, folder.path)] == [code]
    assert mend(migrated, folder) == [("0003.index", code, APPLIED)]
    assert verify("authz", migrated.owner_dsn, folder.path) == []
    assert mend(migrated, folder) == []


@pytest.mark.parametrize("code, change", [("interrupted", STARTED), ("unrecorded", NO_ROW), ("unmarked", NO_MARK)])
def test_what_the_schema_shows_as_not_applied_is_recorded_so_and_up_applies_it(empty_database, folder, code, change):
    (folder.path / "0004.data.sql").unlink()
    (folder.path / "0004.data.rollback.sql").unlink()
    folder.lock()
    migrate_up("authz", empty_database.owner_dsn, folder.path)
    execute(empty_database, change.format("0003.index"), NO_INDEX)
    assert mend(empty_database, folder) == [("0003.index", code, NOT_APPLIED)]
    assert [fault.code for fault in verify("authz", empty_database.owner_dsn, folder.path)] == ["pending"]
    assert migrate_up("authz", empty_database.owner_dsn, folder.path) == ["0003.index"]
    assert verify("authz", empty_database.owner_dsn, folder.path) == []


@pytest.mark.parametrize(
    "spoil, named",
    [
        (INVALID_INDEX, "second_key"),
        ("alter table authz.first add column more int", "column authz.first.more"),
        ("alter table authz.first owner to authz_app", "authz.first: owner"),
    ],
)
def test_a_schema_that_is_neither_is_refused_with_the_differences(migrated, folder, spoil, named):
    execute(migrated, STARTED.format("0003.index"), spoil)
    before = books(migrated)
    with pytest.raises(Refused, match=r"with or without 0003\.index") as caught:
        mend(migrated, folder)
    assert caught.value.exit_code == ExitCode.REFUSED
    assert named in caught.value.found
    assert books(migrated) == before


def test_several_are_settled_at_once(migrated, folder):
    execute(migrated, NO_MARK.format("0001.first"), NO_ROW.format("0002.second"), STARTED.format("0003.index"))
    assert [id for id, _, now in mend(migrated, folder) if now == APPLIED] == [
        "0001.first",
        "0002.second",
        "0003.index",
    ]
    assert verify("authz", migrated.owner_dsn, folder.path) == []


@pytest.mark.parametrize("change", [STARTED, NO_ROW, NO_MARK])
def test_how_far_a_data_migration_came_is_nothing_that_a_schema_proves(migrated, folder, change):
    execute(migrated, change.format("0004.data"))
    before = books(migrated)
    with pytest.raises(Refused, match="it is a data migration"):
        mend(migrated, folder)
    assert books(migrated) == before


def test_what_was_interrupted_and_shows_nowhere_is_run_again(server, empty_database, two_tables):
    two_tables.add("0003.again", "reindex index concurrently authz.second_pkey;", transactional="false")
    write_lock_files(server, two_tables)
    migrate_up("authz", empty_database.owner_dsn, two_tables.path)
    execute(empty_database, STARTED.format("0003.again"))
    assert mend(empty_database, two_tables) == [("0003.again", "interrupted", NOT_APPLIED)]
    assert migrate_up("authz", empty_database.owner_dsn, two_tables.path) == ["0003.again"]


def test_other_faults_are_nothing_to_repair(migrated, folder):
    execute(migrated, NO_ROW.format("0001.first"), NO_MARK.format("0001.first"), STARTED.format("0003.index"))
    with pytest.raises(HasFindings, match="out_of_order"):
        mend(migrated, folder)


def test_an_edit_of_comments_is_recorded_once_the_original_proves_it(migrated, folder):
    file = folder.path / "0002.second.sql"
    original = file.read_bytes()
    file.write_bytes(original.replace(b"create table", b"-- The other one.\ncreate  table"))
    folder.lock()
    assert [fault.code for fault in verify("authz", migrated.owner_dsn, folder.path)] == ["modified"]
    before = books(migrated)
    for given in (None, b"something else"):
        with pytest.raises(Refused, match=r"0002\.second\.sql was edited after it was applied"):
            mend(migrated, folder, original=given)
    assert books(migrated) == before
    assert mend(migrated, folder, original=original) == [("0002.second", "modified", APPLIED)]
    assert verify("authz", migrated.owner_dsn, folder.path) == []
    applied_at = [row[5] for row in before[0]]
    assert [row[5] for row in books(migrated)[0]] == applied_at


def test_an_edit_of_a_statement_is_refused_even_if_the_schema_is_the_same(migrated, folder):
    file = folder.path / "0002.second.sql"
    original = file.read_bytes()
    file.write_bytes(original.replace(b"id int primary key", b"id int4 primary key"))
    folder.lock()
    with pytest.raises(Refused, match="not only its comments"):
        mend(migrated, folder, original=original)


def test_an_edited_migration_on_a_changed_schema_is_refused(migrated, folder):
    file = folder.path / "0002.second.sql"
    original = file.read_bytes()
    file.write_bytes(original + b"-- an afterthought\n")
    folder.lock()
    execute(migrated, "alter table authz.first add column more int")
    with pytest.raises(Refused, match=r"column authz\.first\.more"):
        mend(migrated, folder, original=original)


FORGET = "drop table public._migration_ledger, public._yoyo_migration, public._yoyo_log, public._yoyo_version"


def begin(database, folder, last):
    return baseline("authz", database.owner_dsn, last, by_schema_lock("authz", folder.path), folder.path)


def test_a_schema_that_was_restored_by_hand_gets_its_bookkeeping(migrated, folder):
    execute(migrated, FORGET, NO_INDEX)
    assert begin(migrated, folder, "0002.second") == ["0001.first", "0002.second"]
    states = [(row.id, row.state) for row in migration_status("authz", migrated.owner_dsn, folder.path)]
    assert states == [
        ("0001.first", "applied"),
        ("0002.second", "applied"),
        ("0003.index", "pending"),
        ("0004.data", "pending"),
    ]
    assert migrate_up("authz", migrated.owner_dsn, folder.path) == ["0003.index", "0004.data"]
    assert verify("authz", migrated.owner_dsn, folder.path) == []


@pytest.mark.parametrize("last", ["0001.first", "0002.second", "0004.data"])
def test_a_baseline_that_the_schema_does_not_prove_is_refused(migrated, folder, last):
    execute(migrated, FORGET, NO_INDEX, "drop table authz.second" if last == "0002.second" else "select 1")
    with pytest.raises(Refused, match=f"isn't what the migrations up to {last} make: .*second"):
        begin(migrated, folder, last)
    assert execute(migrated, "select to_regclass('public._migration_ledger')") == [(None,)]


def test_a_baseline_never_writes_over_what_is_recorded(migrated, folder):
    before = books(migrated)
    with pytest.raises(Refused, match="has bookkeeping already: 4 rows in the ledger"):
        begin(migrated, folder, "0004.data")
    assert books(migrated) == before
    with pytest.raises(UsageError, match=r"choose one of: 0001\.first"):
        begin(migrated, folder, "0005.none")


def test_after_up_the_schema_must_be_as_expected(migrated, folder):
    is_as_expected = by_schema_lock("authz", folder.path)
    assert migrate_up("authz", migrated.owner_dsn, folder.path, is_as_expected=is_as_expected) == []
    execute(migrated, "alter table authz.first add column more int")
    with pytest.raises(SchemaDiffers, match=r"column authz\.first\.more is there") as caught:
        migrate_up("authz", migrated.owner_dsn, folder.path, is_as_expected=is_as_expected)
    assert caught.value.exit_code == ExitCode.FINDINGS


def test_the_command_up_compares_the_schema_and_keeps_its_digest(operate, empty_database, authz_database):
    code, text = operate("migrate", "up", "--service", "authz", "--format", "json", authz=empty_database)
    assert code == 0, text
    assert json.loads(text)["services"][0]["schema_differences"] == []
    recorded = execute(empty_database, "select id, schema_digest from public._migration_ledger order by id")
    lock = read_schema_lock(read_folder("authz").path)
    assert recorded == [(step.id, step.digest) for step in lock.history]
    execute(authz_database, "alter table authz.space add column more int")
    code, text = operate("migrate", "up", "--service", "authz", "--format", "json", authz=authz_database)
    assert code == 1
    assert json.loads(text)["services"][0]["schema_differences"] == [
        "column authz.space.more is there, and not expected"
    ]
    code, text = operate("migrate", "up", "--service", "authz", authz=authz_database)
    assert code == 1
    assert "column authz.space.more is there, and not expected" in text


def test_a_database_of_the_release_before_is_as_expected_after_up(operate, authz_database):
    execute(authz_database, "alter table public._migration_ledger drop column schema_digest")
    code, text = operate("migrate", "up", "--service", "authz", authz=authz_database)
    assert (code, text) == (0, "✓ authz: nothing to apply; the schema is as expected.\n")


def test_on_another_major_version_up_says_that_it_compared_nothing(operate, monkeypatch, migrated, folder):
    file = folder.path / SCHEMA_LOCK_FILE
    file.write_text(file.read_text().replace('"postgres_major": 18', '"postgres_major": 17'))
    monkeypatch.setattr(files, "default_folder", lambda _: folder.path)
    monkeypatch.setattr("shared.migrations.expected.default_folder", lambda _: folder.path)
    code, text = operate("migrate", "up", "--service", "authz", authz=migrated)
    assert code == 0
    assert "the schema wasn't compared: The server is PostgreSQL 18" in text
    assert text.endswith("✓ authz: nothing to apply.\n")
    code, text = operate("migrate", "up", "--service", "authz", "--format", "json", authz=migrated)
    assert (code, json.loads(text)["services"][0]["schema_differences"]) == (0, None)


def test_a_digest_is_of_the_schema_that_is_about_to_be_committed(migrated):
    digest = digest_of_schema("authz")
    with psycopg.connect(migrated.superuser_dsn) as connection:
        before = digest(connection)
        connection.execute("create table authz.third (id int)")
        assert digest(connection) != before
        connection.execute("drop table authz.third")
        assert digest(connection) == before


def test_the_commands_ask_for_consent_in_production(operate, monkeypatch, migrated, folder, tmp_path):
    monkeypatch.setattr(files, "default_folder", lambda _: folder.path)
    monkeypatch.setattr("shared.migrations.expected.default_folder", lambda _: folder.path)
    execute(migrated, STARTED.format("0003.index"))
    given = ("migrate", "repair", "--service", "authz")
    code, text = operate(*given, authz=migrated, PLYSTRA_ENVIRONMENT="production")
    assert code == 7
    assert "needs --yes" in text
    code, text = operate(*given, "--yes", authz=migrated, PLYSTRA_ENVIRONMENT="production")
    assert (code, text) == (0, "✓ authz: 0003.index was interrupted; recorded as applied.\n")
    assert "nothing to repair" in operate(*given, authz=migrated)[1]
    code, text = operate(*given, "--original", str(tmp_path / "none"), authz=migrated)
    assert (code, "can't be read" in text) == (2, True)
    execute(migrated, FORGET)
    given = ("migrate", "baseline", "0004.data", "--service", "authz")
    assert operate(*given, authz=migrated, PLYSTRA_ENVIRONMENT="production")[0] == 7
    code, text = operate(*given, "--yes", authz=migrated, PLYSTRA_ENVIRONMENT="production")
    assert (code, text) == (0, "✓ authz: 4 recorded as applied, up to 0004.data.\n")
