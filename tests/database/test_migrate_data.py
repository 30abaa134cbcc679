"""A data migration in batches: one bounded statement, repeated, a transaction each; whoever is killed goes on by a re-run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psycopg
import pytest

from shared.migrations import files
from shared.migrations.errors import ApplyFailed, NeedsRepair, UsageError
from shared.migrations.runner import migrate_up, migration_status
from shared.migrations.verify import verify
from tests.database.waiting import wait_for

ROWS = 1_000
STATEMENT = """
update authz.first set seen = true, written_by = pg_current_xact_id()::text
where id in (select id from authz.first where not seen order by id limit 100);
"""


@pytest.fixture
def filled(empty_database, scratch):
    """A database with rows that a pending data migration is to change."""
    table = "create table authz.first (id int primary key, seen boolean not null default false, written_by text)"
    scratch.add("0001.first", f"create schema authz; {table};")
    scratch.lock()
    migrate_up("authz", empty_database.owner_dsn, scratch.path)
    query(empty_database, f"insert into authz.first select generate_series(1, {ROWS})")
    add(scratch, STATEMENT)
    return empty_database


def add(folder, statement, **header):
    header = {"kind": "data", "phase": "migrate", "transactional": "false", "depends": "0001.first"} | header
    folder.add("0002.data", statement, **header)
    folder.lock()


def query(database, statement):
    with psycopg.connect(database.superuser_dsn, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def test_each_batch_is_a_transaction_and_tells_the_rows_so_far(filled, scratch):
    told = []
    migrate_up("authz", filled.owner_dsn, scratch.path, progress=lambda *done: told.append(done))
    assert told == [("0002.data", rows) for rows in range(100, ROWS + 1, 100)]
    assert query(filled, "select count(*), count(distinct written_by) from authz.first where seen") == [(ROWS, 10)]
    assert verify("authz", filled.owner_dsn, scratch.path) == []
    assert migrate_up("authz", filled.owner_dsn, scratch.path) == []


def test_a_statement_that_begins_with_with_will_do(filled, scratch):
    add(
        scratch,
        "with batch as (select id from authz.first where not seen limit 400)"
        " update authz.first set seen = true from batch where batch.id = first.id;",
    )
    told = []
    migrate_up("authz", filled.owner_dsn, scratch.path, progress=lambda _, rows: told.append(rows))
    assert told == [400, 800, ROWS]


@pytest.mark.parametrize("statement", ["select 1 from authz.first;", "create table authz.more (a int);"])
def test_a_statement_of_another_kind_is_refused_before_anything_is_recorded(filled, scratch, statement):
    add(scratch, statement)
    with pytest.raises(UsageError, match="doesn't hold one insert, update, delete or merge"):
        migrate_up("authz", filled.owner_dsn, scratch.path)
    assert [row.state for row in migration_status("authz", filled.owner_dsn, scratch.path)] == ["applied", "pending"]


def test_a_statement_that_only_reads_is_not_repeated_for_ever(filled, scratch):
    add(scratch, "with all_of_them as (select * from authz.first) select count(*) from all_of_them;")
    with pytest.raises(ApplyFailed, match="only reads: the server answered SELECT 1"):
        migrate_up("authz", filled.owner_dsn, scratch.path)


def test_a_data_migration_in_one_transaction_runs_once(filled, scratch):
    add(scratch, STATEMENT, transactional="true")
    migrate_up("authz", filled.owner_dsn, scratch.path)
    assert query(filled, "select count(*) from authz.first where seen") == [(100,)]


def test_a_batch_that_fails_leaves_those_before_it_and_a_re_run_goes_on(filled, scratch):
    query(filled, "alter table authz.first add constraint young check (not (seen and id > 350))")
    with pytest.raises(NeedsRepair, match='violates check constraint "young"') as caught:
        migrate_up("authz", filled.owner_dsn, scratch.path)
    assert "those before it are committed and stay" in caught.value.why
    assert query(filled, "select count(*) from authz.first where seen") == [(300,)]
    (fault,) = verify("authz", filled.owner_dsn, scratch.path)
    assert fault.code == "failed"
    assert 'violates check constraint "young"' in fault.seen
    query(filled, "alter table authz.first drop constraint young")
    told = []
    migrate_up("authz", filled.owner_dsn, scratch.path, progress=lambda _, rows: told.append(rows))
    assert told[-1] == ROWS - 300
    assert verify("authz", filled.owner_dsn, scratch.path) == []


def test_killed_in_the_middle_of_a_batch_it_goes_on_where_it_was(filled, scratch):
    # The fourth batch waits for a row that somebody holds.
    program = "import sys; from pathlib import Path; from shared.migrations.runner import migrate_up; "
    program += "migrate_up('authz', sys.argv[1], Path(sys.argv[2]))"
    with psycopg.connect(filled.superuser_dsn) as other:
        other.execute("select 1 from authz.first where id = 350 for update")
        process = subprocess.Popen([sys.executable, "-c", program, filled.owner_dsn, str(scratch.path)])
        waiting = "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        wait_for(lambda: query(filled, waiting))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert [fault.code for fault in verify("authz", filled.owner_dsn, scratch.path)] == ["interrupted"]
    told = []
    migrate_up("authz", filled.owner_dsn, scratch.path, progress=lambda _, rows: told.append(rows))
    assert told == list(range(100, 701, 100))
    assert query(filled, "select count(*), count(distinct written_by) from authz.first where seen") == [(ROWS, 10)]
    assert verify("authz", filled.owner_dsn, scratch.path) == []


def test_becoming_another_role_in_a_batch_is_noticed(filled, scratch):
    add(scratch, STATEMENT.replace("set seen = true", "set seen = set_config('role', 'none', false) is not null"))
    with pytest.raises(ApplyFailed, match="changed the role"):
        migrate_up("authz", filled.owner_dsn, scratch.path)
    assert query(filled, "select count(*) from authz.first where seen") == [(0,)]


def test_the_command_shows_how_far_it_is(operate, monkeypatch, filled, scratch):
    monkeypatch.setattr(files, "default_folder", lambda _: scratch.path)
    monkeypatch.setattr("shared.migrations.expected.default_folder", lambda _: scratch.path)
    code, text = operate("migrate", "up", "--service", "authz", authz=filled)
    assert "authz: 0002.data: 1000 rows so far" in text
    # It is applied, and there is no expected catalogue to compare with.
    assert code == 8
    assert "There is no" in text
