"""Compares files, lock file, ledger and yoyo's table, and names each fault once, by its root cause.

Pure functions over what was read. Not part of it yet: the catalogue. A table dropped by hand is not seen here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from shared.migrations.files import LOCK_FILE, MigrationFile, MigrationFolder, read_folder
from shared.migrations.findings import Finding
from shared.migrations.ledger import Bookkeeping, LedgerRow, connect, read_bookkeeping
from shared.migrations.lockfile import LockFile, read_lock

SCOPE: Final = "compared: files, migrations.lock, ledger, yoyo's table; not compared yet: the catalogue of the database"


def verify(service: str, dsn: str, folder: Path | None = None) -> list[Finding]:
    """Return every fault of a service's migrations; only reads, and any role that may read the ledger will do."""
    files = read_folder(service, folder)
    lock = read_lock(service, files.path)
    with connect(dsn, "migrate verify", read_only=True) as connection:
        books = read_bookkeeping(connection)
    return [*compare_files(files, lock), *compare_database(files, lock, books)]


def compare_files(files: MigrationFolder, lock: LockFile | None) -> list[Finding]:
    """Return the faults that show without a database."""
    faults = list(files.faults)

    def fault(code: str, subject: str, seen: str) -> None:
        faults.append(Finding(service=files.service, code=code, subject=subject, seen=seen))

    if lock is None:
        fault("lock_missing", LOCK_FILE, f"There is no {files.path / LOCK_FILE}.")
        return faults
    if lock.broken is not None:
        # Whatever else differs from a lock file that isn't to be trusted is no finding of its own.
        fault("chain_broken", LOCK_FILE, f"The chain of hashes breaks at the line: {lock.broken}")
        return faults
    present = dict(pair for migration in files.migrations for pair in migration.names_and_contents())
    faulty = {finding.subject for finding in files.faults}
    for name, sha256 in lock.hashes.items():
        if name not in present and name not in faulty:
            fault("missing", name, f"{LOCK_FILE} names {name}, and the folder {files.path} doesn't hold it.")
        elif name in present and _sha256(present[name]) != sha256:
            seen = f"Its SHA-256 is {_sha256(present[name])}, {LOCK_FILE} says {sha256}."
            fault("modified", name, seen)
    for name in present:
        if name not in lock.hashes:
            fault("unlocked", name, f"{LOCK_FILE} doesn't name it.")
    return faults


def compare_database(files: MigrationFolder, lock: LockFile | None, books: Bookkeeping) -> list[Finding]:
    """Return the faults of the bookkeeping, but for those that the files explain already."""
    by_id = {migration.id: migration for migration in files.migrations}
    locked = set(lock.ids) if lock and lock.broken is None else set(by_id)
    newest = max((row.ordinal for row in books.ledger.values()), default=0)
    faults: list[tuple[str, str, str]] = []
    for id in sorted({*by_id, *books.ledger, *books.marks}):
        migration, row, marked = by_id.get(id), books.ledger.get(id), id in books.marks
        if row is not None:
            known = migration is not None or id in locked
            faults += [(code, id, seen) for code, seen in _recorded(row, migration, lock, known=known, marked=marked)]
        elif marked:
            faults.append(("unrecorded", id, "yoyo's table holds it, the ledger doesn't."))
        elif migration and id in locked and migration.ordinal < newest:
            faults.append(("out_of_order", id, f"It isn't applied, while the later number {newest:04d} is."))
        elif migration and id in locked:
            faults.append(("pending", id, "It isn't applied."))
    return [Finding(service=files.service, code=code, subject=subject, seen=seen) for code, subject, seen in faults]


def _recorded(
    row: LedgerRow, migration: MigrationFile | None, lock: LockFile | None, *, known: bool, marked: bool
) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a migration that the ledger holds."""
    if row.state == "started":
        yield "interrupted", f"It was begun at {row.started_at:%Y-%m-%d %H:%M:%S%z} by {row.applied_by}."
        return
    if not known:
        yield "ahead_of_code", f"It was applied by release {row.tool_version}; this release doesn't know it."
        return
    if migration and row.sha256 != migration.sha256 and _is_as_locked(migration.name, migration.sha256, lock):
        yield "modified", f"Its SHA-256 is {migration.sha256}; what was applied had {row.sha256}."
    if not marked:
        yield "unmarked", "The ledger holds it, yoyo's table doesn't."


def _is_as_locked(name: str, sha256: str, lock: LockFile | None) -> bool:
    """Tell whether a difference is news: one from the lock file has been reported as modified already."""
    return lock is None or lock.broken is not None or lock.hashes.get(name) == sha256


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
