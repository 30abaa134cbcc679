"""`migrate verify` on a streaming standby, which can't be written to at all."""

from __future__ import annotations

import shutil
import subprocess

import psycopg
import pytest

from shared.embedded.binaries import provide_binaries
from shared.embedded.place import make_private
from shared.embedded.server import EmbeddedPostgres, _account, _environment
from shared.migrations.runner import migrate_up
from shared.migrations.verify import verify
from shared.process import tied
from tests.conftest import ServiceDatabase
from tests.database.waiting import wait_for


@pytest.fixture
def standby(server, passable_folder):
    """A standby of this worker's server, streaming from it."""
    copy = EmbeddedPostgres(passable_folder, fast=True)
    copy.start()
    copy.stop()
    account, place = _account(), copy._opened()
    shutil.rmtree(place.data)
    make_private(place.data, account)
    program = provide_binaries(account, place.root).program("pg_basebackup")
    command = [str(program), "--pgdata", str(place.data), "--checkpoint", "fast", "--write-recovery-conf", "--no-sync"]
    command += ["--dbname", server.superuser_dsn]
    done = subprocess.run(
        tied(command, account=account), cwd="/", env=_environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with copy:
        yield copy


def test_a_standby_is_verified_by_a_role_that_can_only_read(empty_database, two_tables, standby):
    migrate_up("authz", empty_database.owner_dsn, two_tables.path)
    on_standby = ServiceDatabase("authz", empty_database.name, standby)
    with psycopg.connect(empty_database.superuser_dsn) as primary:
        primary.execute(
            "set synchronous_commit = on"
        )  # this commit takes all before it to the disk, and so to the standby
        primary.execute("select pg_logical_emit_message(true, '', '')")
        primary.commit()
        position = primary.execute("select pg_current_wal_flush_lsn()").fetchone()[0]
    with psycopg.connect(on_standby.reader_dsn, autocommit=True) as connection:
        assert connection.execute("select pg_is_in_recovery()").fetchone() == (True,)
        arrived = "select pg_last_wal_replay_lsn() >= %s::pg_lsn"
        wait_for(lambda: connection.execute(arrived, [position]).fetchone()[0])
    assert verify("authz", on_standby.reader_dsn, two_tables.path) == []
    (two_tables.path / "0002.second.sql").unlink()
    assert [each.code for each in verify("authz", on_standby.reader_dsn, two_tables.path)] == ["missing"]
