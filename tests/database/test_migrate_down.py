"""`migrate down`: one step back, by the rollback file, as a whole or not at all; and up again to the same schema."""

from __future__ import annotations

import os
import subprocess

import psycopg
import pytest

from shared.embedded.binaries import find_wheel
from shared.migrations.down import migrate_down
from shared.migrations.errors import ApplyFailed, NeedsRepair, UsageError
from shared.migrations.files import default_folder, read_folder
from shared.migrations.runner import HasFindings, migrate_up, migration_status
from shared.migrations.verify import verify
from tests.conftest import fresh_database


@pytest.fixture
def undoable(two_tables):
    """Two migrations that can be taken back."""
    two_tables.add(
        "0001.first", "create schema authz; create table authz.first (id int);", "drop schema authz cascade;"
    )
    two_tables.add(
        "0002.second", "create table authz.second (id int);", "drop table authz.second;", depends="0001.first"
    )
    two_tables.lock()
    return two_tables


def query(database, statement):
    with psycopg.connect(database.superuser_dsn, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def books(database):
    return [
        query(database, f"select * from public.{table} order by 1")
        for table in ("_migration_ledger", "_yoyo_migration", "_yoyo_log")
    ]


def test_it_takes_the_last_one_back_and_up_applies_it_again(empty_database, undoable):
    migrate_up("authz", empty_database.owner_dsn, undoable.path)
    assert migrate_down("authz", empty_database.owner_dsn, undoable.path) == "0002.second"
    assert query(empty_database, "select to_regclass('authz.first')::text, to_regclass('authz.second')") == [
        ("authz.first", None)
    ]
    found = [(row.id, row.state) for row in migration_status("authz", empty_database.owner_dsn, undoable.path)]
    assert found == [("0001.first", "applied"), ("0002.second", "pending")]
    assert migrate_down("authz", empty_database.owner_dsn, undoable.path) == "0001.first"
    assert migrate_down("authz", empty_database.owner_dsn, undoable.path) is None
    assert migrate_up("authz", empty_database.owner_dsn, undoable.path) == ["0001.first", "0002.second"]
    assert verify("authz", empty_database.owner_dsn, undoable.path) == []
    logged = query(empty_database, "select operation, migration_id from public._yoyo_log order by created_at_utc")
    assert [operation for operation, _ in logged] == ["apply", "apply", "rollback", "rollback", "apply", "apply"]


def test_a_rollback_that_fails_leaves_everything_as_it_was(empty_database, undoable):
    undoable.add("0003.third", "create table authz.third (id int);", "drop table authz.third;\ndrop table authz.gone;")
    undoable.lock()
    migrate_up("authz", empty_database.owner_dsn, undoable.path)
    before = books(empty_database)
    with pytest.raises(ApplyFailed, match=r'0003.third.rollback.sql failed: table "gone" does not exist'):
        migrate_down("authz", empty_database.owner_dsn, undoable.path)
    assert books(empty_database) == before
    assert query(empty_database, "select to_regclass('authz.third')::text") == [("authz.third",)]


@pytest.mark.parametrize("table", ["_migration_ledger", "_yoyo_migration", "_yoyo_log"])
def test_effect_mark_log_and_ledger_row_go_together_or_not_at_all(empty_database, undoable, table):
    migrate_up("authz", empty_database.owner_dsn, undoable.path)
    before = books(empty_database)
    raising = "create function public.refuse() returns trigger language plpgsql as $$ begin raise 'not now'; end $$"
    query(empty_database, raising)
    query(
        empty_database, f"create trigger t before insert or delete on public.{table} execute function public.refuse()"
    )
    with pytest.raises(ApplyFailed, match="not now"):
        migrate_down("authz", empty_database.owner_dsn, undoable.path)
    assert books(empty_database) == before
    assert query(empty_database, "select to_regclass('authz.second')::text") == [("authz.second",)]


@pytest.mark.parametrize("how", ["edit", "edit and lock", "remove"])
def test_only_what_the_lock_file_names_is_run(empty_database, undoable, how):
    migrate_up("authz", empty_database.owner_dsn, undoable.path)
    file = undoable.path / "0002.second.rollback.sql"
    if how == "remove":
        file.unlink()
    else:
        file.write_text("drop table authz.second, authz.first;\n")
    if how == "edit and lock":
        undoable.lock()
        assert migrate_down("authz", empty_database.owner_dsn, undoable.path) == "0002.second"
        return
    with pytest.raises(HasFindings):
        migrate_down("authz", empty_database.owner_dsn, undoable.path)
    assert len(books(empty_database)[0]) == 2


def add_index(folder, rollback="drop index concurrently authz.second_idx;"):
    build = "create index concurrently second_idx on authz.second (id);"
    folder.add("0003.index", build, rollback, transactional="false", indexes="+authz.second_idx", depends="0002.second")
    folder.lock()


def test_a_rollback_that_cannot_run_in_a_transaction_runs_outside_of_one(empty_database, undoable):
    add_index(undoable)
    migrate_up("authz", empty_database.owner_dsn, undoable.path)
    assert migrate_down("authz", empty_database.owner_dsn, undoable.path) == "0003.index"
    assert query(empty_database, "select to_regclass('authz.second_idx')") == [(None,)]
    assert [fault.code for fault in verify("authz", empty_database.owner_dsn, undoable.path)] == ["pending"]
    assert migrate_up("authz", empty_database.owner_dsn, undoable.path) == ["0003.index"]


def test_what_such_a_rollback_leaves_when_it_fails_is_cleared_up_by_up(empty_database, undoable):
    add_index(undoable)
    migrate_up("authz", empty_database.owner_dsn, undoable.path)
    with psycopg.connect(empty_database.superuser_dsn) as reader:
        reader.execute("select * from authz.second")
        # It marks the index as invalid, then waits for whoever may still use it.
        with pytest.raises(NeedsRepair, match="didn't get its locks") as caught:
            migrate_down("authz", empty_database.owner_dsn, undoable.path, lock_attempts=1)
        assert f"select pg_terminate_backend({reader.info.backend_pid});" in caught.value.remedy
        assert "plystractl migrate up --service authz" in caught.value.remedy
    assert query(empty_database, "select indisvalid from pg_index where indexrelid = 'authz.second_idx'::regclass") == [
        (False,)
    ]
    assert [fault.code for fault in verify("authz", empty_database.owner_dsn, undoable.path)] == ["interrupted"]
    with pytest.raises(HasFindings, match="interrupted"):
        migrate_down("authz", empty_database.owner_dsn, undoable.path)
    assert migrate_up("authz", empty_database.owner_dsn, undoable.path) == ["0003.index"]
    assert query(empty_database, "select indisvalid from pg_index where indexrelid = 'authz.second_idx'::regclass") == [
        (True,)
    ]
    assert verify("authz", empty_database.owner_dsn, undoable.path) == []


def test_such_a_rollback_holds_nothing_else(empty_database, undoable):
    add_index(undoable, "drop index concurrently authz.second_idx; drop table authz.second;")
    migrate_up("authz", empty_database.owner_dsn, undoable.path)
    with pytest.raises(UsageError, match="and others beside it"):
        migrate_down("authz", empty_database.owner_dsn, undoable.path)
    assert verify("authz", empty_database.owner_dsn, undoable.path) == []


@pytest.mark.parametrize("environment", ["production", "elsewhere", ""])
def test_it_is_refused_in_production(operate, authz_database, environment):
    before = books(authz_database)
    code, text = operate("migrate", "down", "--service", "authz", authz=authz_database, PLYSTRA_ENVIRONMENT=environment)
    assert code == 7
    assert "disabled in production" in text
    assert books(authz_database) == before


def test_the_command_says_what_it_took_back(operate, authz_database):
    last = read_folder("authz").migrations[-1].id
    code, text = operate("migrate", "down", "--service", "authz", authz=authz_database)
    assert code == 0, text
    assert f"✓ authz: {last} is taken back." in text


def dump(database):
    """The schema as pg_dump writes it, but for the token that is another in each dump."""
    program = find_wheel().program("pg_dump")
    done = subprocess.run(
        [str(program), "--schema-only", database.superuser_dsn],
        capture_output=True,
        text=True,
        check=True,
        env=dict(os.environ),
    )
    return [line for line in done.stdout.splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))]


@pytest.mark.parametrize("service", ["authz", "audit"])
def test_every_migration_can_be_taken_back_and_applied_again_to_the_same_schema(server, service):
    ids = [migration.id for migration in read_folder(service, default_folder(service)).migrations]
    with fresh_database(server, service) as database:
        migrate_up(service, database.owner_dsn)
        before = dump(database)
        undone = [migrate_down(service, database.owner_dsn) for _ in ids]
        assert undone == ids[::-1]
        assert query(database, f"select 1 from pg_namespace where nspname = '{service}'") == []
        assert migrate_up(service, database.owner_dsn) == ids
        assert verify(service, database.owner_dsn) == []
        assert dump(database) == before
