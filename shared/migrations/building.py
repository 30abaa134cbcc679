"""Builds a service's schema straight from `schema.lock.json`, for development: quicker than all migrations in turn.

Afterwards the database is as if they had run: the rows of data migrations are there, the ledger and yoyo's table have every
migration, and `verify` and the schema check find nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psycopg

from shared.catalogue.compare import differences, restore_script
from shared.catalogue.model import OF, Catalogue, kind_of
from shared.catalogue.snapshot import snapshot
from shared.migrations.backend import LedgerBackend, in_order
from shared.migrations.errors import ApplyFailed, NeedsRepair, UsageError
from shared.migrations.files import read_folder
from shared.migrations.ledger import connect
from shared.migrations.lockfile import read_lock
from shared.migrations.runner import WAIT_SECONDS, HasFindings
from shared.migrations.schema import check_schema, load_schema_lock
from shared.migrations.verify import compare_files

# What every database has before anybody has made anything in it.
_GIVEN: Final = {"database", "extension", "language", "role", "settings"}


def build_schema(service: str, dsn: str, folder: Path | None = None) -> list[str]:
    """Build the schema in the empty database of this owner DSN, and return the ids recorded as applied.

    It is one transaction after the bookkeeping tables. Raises `UsageError` when something is there already.
    """
    files = read_folder(service, folder)
    if faults := compare_files(files, read_lock(service, files.path)):
        raise HasFindings(faults)
    lock = load_schema_lock(service, files.path)
    migrations = in_order(files.migrations)
    if (ids := tuple(migration.id for migration in migrations)) != lock.ids:
        raise UsageError(
            f"schema.lock.json of {service} is about other migrations than the folder holds.",
            why="What would be built isn't what would be recorded.",
            remedy=f"plystractl migrate diff --service {service}",
        )
    with (
        LedgerBackend(service, dsn) as backend,
        backend.exclusive(WAIT_SECONDS),
        connect(dsn, "schema apply", read_only=True) as watcher,
    ):
        if there := next(_things(snapshot(watcher, service)), None):
            raise UsageError(
                f"The database {watcher.info.dbname} isn't empty: it has the {there}.",
                why="The schema is built as a whole, never beside or over something.",
                remedy=f"name an empty database, or bring this one up to date: plystractl migrate up --service {service}",
            )
        backend.bootstrap()
        missing = [one for one in differences(lock.at(ids), snapshot(watcher, service)) if one.kind == "missing"]
        try:
            with backend.transaction():
                backend.connection.execute(restore_script(missing).encode())
                backend.init_connection(backend.connection)
                for migration in migrations:
                    if migration.file.header["kind"] == "data":
                        backend.connection.execute(migration.source)
                    backend.record_one(migration)
        except psycopg.Error as error:
            raise ApplyFailed(
                f"The schema of {service} can't be built: {str(error).strip()}.",
                why="It was rolled back: only the bookkeeping tables are there.",
                remedy=f"plystractl migrate up --service {service}",
            ) from error
        if left := check_schema(service, watcher, files.path).differences:
            raise NeedsRepair(
                f"The schema of {service} is built, and not as expected: {left[0]}"
                + (f" (and {len(left) - 1} more)." if len(left) > 1 else "."),
                why="Whatever it is tried with would be tried on another schema than that of the migrations.",
                remedy=f"plystractl schema check --service {service}",
            )
    return list(ids)


def _things(catalogue: Catalogue) -> Iterator[str]:
    """Yield the keys of what somebody has made in a database."""
    for key, found in catalogue.objects.items():
        if kind_of(key) not in _GIVEN and key != "schema public" and OF not in found:
            yield key
