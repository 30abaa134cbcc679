"""Applies the migrations of a folder one by one to an empty database, and looks at the catalogue after each."""

from __future__ import annotations

from pathlib import Path

from psycopg import sql

from shared.catalogue.model import Catalogue
from shared.catalogue.partitions import maker
from shared.catalogue.schema_lock import SchemaLock
from shared.catalogue.snapshot import snapshot
from shared.migrations.backend import LedgerBackend, in_order
from shared.migrations.bootstrap import Connection
from shared.migrations.errors import ApplyFailed
from shared.migrations.files import read_folder
from shared.migrations.ledger import connect, read_bookkeeping
from shared.migrations.runner import WAIT_SECONDS, HasFindings, apply


def replay(service: str, dsn: str, folder: Path | None = None) -> SchemaLock:
    """Return the lock of a folder's migrations, from applying them to the empty database of this owner DSN.

    The lock file of the files isn't asked: this is for whoever is about to write it.
    """
    files = read_folder(service, folder)
    if files.faults:
        raise HasFindings(list(files.faults))
    after: list[tuple[str, Catalogue]] = []
    with (
        LedgerBackend(service, dsn) as backend,
        backend.exclusive(WAIT_SECONDS),
        connect(dsn, "migrate diff", read_only=False) as watcher,
    ):
        backend.bootstrap()
        if read_bookkeeping(watcher).ledger:
            raise ApplyFailed(
                f"The database {watcher.info.dbname} has migrations already.",
                why="What each migration does shows only on a database that begins empty.",
                remedy="name an empty database.",
            )
        base = snapshot(watcher, service)
        for migration in in_order(files.migrations):
            apply(backend, dsn, migration, attempts=1)
            make_first_partition(watcher, service)
            after.append((migration.id, snapshot(watcher, service)))
    return SchemaLock.from_replay(service, base, after)


def make_first_partition(connection: Connection, service: str) -> None:
    """Have the partition of number 0 made, if the service makes its partitions as data comes: it is their model."""
    row = connection.execute("select to_regprocedure(%s) is not null", [maker(service)]).fetchone()
    if row and row[0]:
        connection.execute(sql.SQL("select {}(0)").format(sql.Identifier(service, "ensure_partition")))
