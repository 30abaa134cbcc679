"""`migrate verify`: one code for each fault, by its root cause; read-only, for any role that may read the ledger."""

from __future__ import annotations

import re

import psycopg
import pytest

from shared.migrations.errors import CannotCompare, ExitCode
from shared.migrations.files import LOCK_FILE
from shared.migrations.findings import FAULTS
from shared.migrations.runner import HasFindings, migrate_up, migration_status
from shared.migrations.verify import verify


@pytest.fixture
def migrated(empty_database, two_tables):
    migrate_up("authz", empty_database.owner_dsn, two_tables.path)
    return empty_database


def execute(database, statement):
    with psycopg.connect(database.superuser_dsn, autocommit=True) as connection:
        connection.execute(statement)


def found(database, folder, dsn=None):
    return [(finding.code, finding.subject) for finding in verify("authz", dsn or database.owner_dsn, folder.path)]


def edit(folder):
    with (folder.path / "0001.first.sql").open("a") as file:
        file.write("select 'an afterthought';\n")


def edit_and_lock(folder):
    edit(folder)
    folder.lock()


def edit_rollback(folder):
    (folder.path / "0001.first.rollback.sql").write_text("select 2;\n")


def delete(folder):
    (folder.path / "0002.second.sql").unlink()
    (folder.path / "0002.second.rollback.sql").unlink()


def delete_and_lock(folder):
    delete(folder)
    folder.lock()


def add_later(folder):
    folder.add("0003.third", "select 1;")
    folder.lock()


def add_unlocked(folder):
    folder.add("0003.third", "select 1;")


def rename(folder):
    """As after a merge in which a number was given away: the applied one is known no more."""
    for suffix in ("sql", "rollback.sql"):
        (folder.path / f"0002.second.{suffix}").rename(folder.path / f"0002.other.{suffix}")
    folder.lock()


def break_chain(folder):
    file = folder.path / LOCK_FILE
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[2:] + lines[:2]))


def remove_lock(folder):
    (folder.path / LOCK_FILE).unlink()


@pytest.mark.parametrize(
    "change, expected",
    [
        (edit, [("modified", "0001.first.sql")]),
        (edit_and_lock, [("modified", "0001.first")]),
        (edit_rollback, [("modified", "0001.first.rollback.sql")]),
        (delete, [("missing", "0002.second.sql")]),
        (delete_and_lock, [("ahead_of_code", "0002.second")]),
        (add_later, [("pending", "0003.third")]),
        (add_unlocked, [("unlocked", "0003.third.sql")]),
        (rename, [("renamed", "0002.other")]),
        (break_chain, [("chain_broken", LOCK_FILE)]),
        (remove_lock, [("lock_missing", LOCK_FILE)]),
    ],
)
def test_a_fault_of_the_files_has_its_code(migrated, two_tables, change, expected):
    assert found(migrated, two_tables) == []
    change(two_tables)
    assert found(migrated, two_tables) == expected


LEDGER_ROW = "from public._migration_ledger where id = '0002.second'"


@pytest.mark.parametrize(
    "change, expected",
    [
        (
            "update public._migration_ledger set sha256 = repeat('0', 64) where id = '0001.first'",
            [("modified", "0001.first")],
        ),
        ("delete from public._yoyo_migration where migration_id = '0001.first'", [("unmarked", "0001.first")]),
        (f"delete {LEDGER_ROW}", [("unrecorded", "0002.second")]),
        ("drop table public._migration_ledger", [("unrecorded", "0001.first"), ("unrecorded", "0002.second")]),
        ("drop table public._yoyo_migration", [("unmarked", "0001.first"), ("unmarked", "0002.second")]),
        (
            f"delete {LEDGER_ROW}; delete from public._yoyo_migration where migration_id = '0002.second'",
            [("pending", "0002.second")],
        ),
        (
            "delete from public._migration_ledger where id = '0001.first';"
            "delete from public._yoyo_migration where migration_id = '0001.first'",
            [("out_of_order", "0001.first")],
        ),
        (
            "update public._migration_ledger set state = 'started', applied_at = null where id = '0002.second';"
            "delete from public._yoyo_migration where migration_id = '0002.second'",
            [("interrupted", "0002.second")],
        ),
        (
            "insert into public._yoyo_migration values ('x', '0003.by_stock_yoyo', now())",
            [("unrecorded", "0003.by_stock_yoyo")],
        ),
    ],
)
def test_a_fault_of_the_database_has_its_code(migrated, two_tables, change, expected):
    execute(migrated, change)
    assert found(migrated, two_tables) == expected


@pytest.mark.parametrize(
    "change", [edit, edit_and_lock, edit_rollback, delete, delete_and_lock, break_chain, remove_lock, add_unlocked]
)
def test_up_refuses_what_verify_complains_about_before_its_first_change(migrated, two_tables, change):
    change(two_tables)
    with pytest.raises(HasFindings) as caught:
        migrate_up("authz", migrated.owner_dsn, two_tables.path)
    assert caught.value.exit_code == ExitCode.FINDINGS


def test_up_refuses_a_migration_that_comes_too_late(migrated, two_tables):
    execute(migrated, f"delete {LEDGER_ROW.replace('0002.second', '0001.first')}")
    execute(migrated, "delete from public._yoyo_migration where migration_id = '0001.first'")
    with pytest.raises(HasFindings, match="out_of_order"):
        migrate_up("authz", migrated.owner_dsn, two_tables.path)


@pytest.mark.parametrize("role", ["app", "reader"])
def test_a_role_that_can_only_connect_and_read_will_do(migrated, two_tables, role):
    dsn = getattr(migrated, f"{role}_dsn")
    assert found(migrated, two_tables, dsn) == []
    edit(two_tables)
    assert found(migrated, two_tables, dsn) == [("modified", "0001.first.sql")]
    assert len(migration_status("authz", dsn, two_tables.path)) == 2


def test_who_may_not_read_is_told_that_nothing_was_compared(migrated, two_tables):
    execute(migrated, "revoke select on public._migration_ledger from authz_reader")
    with pytest.raises(CannotCompare, match="grant select on public") as caught:
        verify("authz", migrated.reader_dsn, two_tables.path)
    assert caught.value.exit_code == ExitCode.CANNOT_COMPARE


def test_verify_and_status_write_nothing(empty_database, two_tables):
    assert found(empty_database, two_tables) == [("pending", "0001.first"), ("pending", "0002.second")]
    rows = migration_status("authz", empty_database.owner_dsn, two_tables.path)
    assert [row.state for row in rows] == ["pending", "pending"]
    with psycopg.connect(empty_database.superuser_dsn) as connection:
        created = "select count(*) from pg_class where relnamespace = 'public'::regnamespace"
        assert connection.execute(created).fetchone() == (0,)


def test_verify_works_where_nothing_can_be_written(migrated, two_tables):
    execute(migrated, f"alter database {migrated.name} set default_transaction_read_only = on")
    assert found(migrated, two_tables) == []


def test_every_fault_says_why_it_matters_and_what_to_do():
    for code, (why, remedy) in FAULTS.items():
        assert why.endswith("."), code
        assert remedy.endswith((".", "{service}", "{service}/{subject}")), code
        assert re.search(r"plystractl migrate|git restore|^(Move|Save|Correct|Take|Give|Write|Run|See) ", remedy), code
