"""The ledger keeps the digest of the schema; one that an earlier release made is read as it is and gains the column."""

from __future__ import annotations

import psycopg
import pytest

from shared.migrations.down import migrate_down
from shared.migrations.errors import ApplyFailed
from shared.migrations.plan import make_plan
from shared.migrations.runner import migrate_up, migration_status
from shared.migrations.verify import verify


def query(database, statement):
    with psycopg.connect(database.superuser_dsn, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
def earlier(empty_database, two_tables):
    """A database as the release before this one left it."""
    migrate_up("authz", empty_database.owner_dsn, two_tables.path)
    query(empty_database, "alter table public._migration_ledger drop column schema_digest")
    return empty_database


@pytest.mark.parametrize("role", ["owner", "app", "reader"])
def test_a_ledger_of_the_release_before_is_read_as_it_is(earlier, two_tables, role):
    dsn = getattr(earlier, f"{role}_dsn")
    assert verify("authz", dsn, two_tables.path) == []
    assert [row.state for row in migration_status("authz", dsn, two_tables.path)] == ["applied", "applied"]
    plan, faults = make_plan("authz", dsn, two_tables.path)
    assert (len(plan.applied), plan.pending, faults) == (2, [], [])


def test_up_gives_it_the_column_and_keeps_its_rows(earlier, two_tables):
    before = query(earlier, "select * from public._migration_ledger order by id")
    migrate_up("authz", earlier.owner_dsn, two_tables.path)
    assert query(earlier, "select * from public._migration_ledger order by id") == [(*row, None) for row in before]
    two_tables.add("0003.third", "create table authz.third (id int);")
    two_tables.lock()
    migrate_up("authz", earlier.owner_dsn, two_tables.path, schema_digest=lambda _: "it")
    digests = query(earlier, "select schema_digest from public._migration_ledger order by id")
    assert digests == [(None,), (None,), ("it",)]


def test_who_keeps_the_ledger_from_its_column_is_named(earlier, two_tables):
    before = query(earlier, "select * from public._migration_ledger order by id")
    with psycopg.connect(earlier.superuser_dsn, application_name="a long report") as other:
        other.execute("select * from public._migration_ledger")
        with pytest.raises(
            ApplyFailed, match=f"bookkeeping tables failed: .* pid {other.info.backend_pid}, a long report"
        ):
            migrate_up("authz", earlier.owner_dsn, two_tables.path, lock_attempts=1)
    assert query(earlier, "select * from public._migration_ledger order by id") == before
    assert migrate_up("authz", earlier.owner_dsn, two_tables.path) == []


def test_down_works_on_it_too(earlier, two_tables):
    two_tables.add(
        "0002.second",
        "create table authz.second (id int primary key);",
        "drop table authz.second;",
        depends="0001.first",
    )
    two_tables.lock()
    assert migrate_down("authz", earlier.owner_dsn, two_tables.path) == "0002.second"
    assert len(query(earlier, "select id from public._migration_ledger")) == 1


def test_up_with_nothing_to_do_does_not_wait_for_those_who_read_the_ledger(empty_database, two_tables):
    migrate_up("authz", empty_database.owner_dsn, two_tables.path)
    with psycopg.connect(empty_database.app_dsn) as service:
        service.execute("select * from public._migration_ledger")
        assert migrate_up("authz", empty_database.owner_dsn, two_tables.path) == []


def test_the_digest_is_taken_in_the_transaction_of_the_migration(empty_database, two_tables):
    def describe(connection):
        (transaction,) = connection.execute("select pg_current_xact_id()::text").fetchone()
        return transaction

    two_tables.add("0003.index", "create index concurrently second_idx on authz.second (id);", transactional="false")
    two_tables.lock()
    migrate_up("authz", empty_database.owner_dsn, two_tables.path, schema_digest=describe)
    rows = query(empty_database, "select schema_digest, xmin::text from public._migration_ledger")
    assert len(rows) == 3
    assert all(digest == xmin for digest, xmin in rows)


def test_a_digest_that_cannot_be_taken_rolls_the_migration_back(empty_database, two_tables):
    def fail(connection):
        connection.execute("select missing")
        return ""

    with pytest.raises(Exception, match="missing"):
        migrate_up("authz", empty_database.owner_dsn, two_tables.path, schema_digest=fail)
    assert query(empty_database, "select to_regclass('authz.first')") == [(None,)]
