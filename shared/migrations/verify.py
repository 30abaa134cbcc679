"""Compares files, lock file, ledger and yoyo's table, and names each fault once, by its root cause.

Pure functions over what was read. `schema.py` compares the catalogue, once it is known what is applied.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from shared.migrations.files import LOCK_FILE, MigrationFile, MigrationFolder, digest_of_meaning, id_of, read_folder
from shared.migrations.findings import Finding
from shared.migrations.ledger import Bookkeeping, LedgerRow, connect, read_bookkeeping
from shared.migrations.lockfile import LockFile, read_lock

SCOPE: Final = "compared: files, migrations.lock, ledger, yoyo's table"


def verify(service: str, dsn: str, folder: Path | None = None) -> list[Finding]:
    """Return every fault of a service's migrations; only reads, and any role that may read the ledger will do."""
    files = read_folder(service, folder)
    lock = read_lock(service, files.path)
    with connect(dsn, "migrate verify", read_only=True) as connection:
        books = read_bookkeeping(connection)
    return [*compare_files(files, lock), *compare_database(files, lock, books)]


def compare_files(files: MigrationFolder, lock: LockFile | None) -> list[Finding]:
    """Return the faults that show without a database, at most one for each migration."""

    def finding(code: str, subject: str, seen: str) -> Finding:
        return Finding(service=files.service, code=code, subject=subject, seen=seen)

    if lock is None:
        return [*files.faults, finding("lock_missing", LOCK_FILE, f"There is no {files.path / LOCK_FILE}.")]
    if lock.broken is not None or (files.migrations and not lock.hashes):
        # Whatever else differs from a lock file that isn't to be trusted is no finding of its own.
        where = f"The chain of hashes breaks at the line: {lock.broken}" if lock.broken is not None else "It is empty."
        return [*files.faults, finding("chain_broken", LOCK_FILE, where)]
    faults: dict[str, tuple[str, str, str]] = {}
    explained: set[str] = set()
    for code, name, seen, new_name in _against_lock(files, lock):
        faults.setdefault(id_of(name), (code, name, seen))
        explained |= {id_of(name), id_of(new_name)}
    for code, name, seen in _unlocked(files, lock):
        if id_of(name) not in explained:
            faults.setdefault(id_of(name), (code, name, seen))
            explained.add(id_of(name))
    others = [
        fault
        for fault in files.faults
        if id_of(fault.subject) not in explained
        and not (fault.code == "duplicate_number" and fault.subject in lock.hashes)  # the other one is the newcomer
    ]
    return [*others, *(finding(*fault) for fault in faults.values())]


def _against_lock(files: MigrationFolder, lock: LockFile) -> Iterator[tuple[str, str, str, str]]:
    """Yield how each file that the lock file names isn't as it says: code, name, what was seen, the name that it has now."""
    unnamed = {_sha256(content): name for name, content in files.contents.items() if name not in lock.hashes}
    encodings = {fault.subject: fault.seen for fault in files.faults if fault.code == "bad_encoding"}
    for name, sha256 in lock.hashes.items():
        content = files.contents.get(name)
        if content is None and sha256 in unnamed:
            yield "renamed", name, f"It is called {unnamed[sha256]} now; the bytes are the same.", unnamed[sha256]
        elif content is None:
            yield "missing", name, f"{LOCK_FILE} names it, and the folder {files.path} doesn't hold it.", name
        elif _sha256(content) == sha256:
            continue
        elif name in encodings:
            yield "bad_encoding", name, encodings[name], name
        else:
            is_cosmetic = digest_of_meaning(name, content) == lock.meanings[name]
            what = " Its statements are the same: only comments, spacing or the header differ." if is_cosmetic else ""
            seen = f"Its SHA-256 is {_sha256(content)}, {LOCK_FILE} says {sha256}.{what}"
            yield "cosmetic_edit" if is_cosmetic else "modified", name, seen, name


def _unlocked(files: MigrationFolder, lock: LockFile) -> Iterator[tuple[str, str, str]]:
    """Yield what is wrong with the place of each migration that the lock file doesn't name."""
    numbers = {int(id[:4]): id for id in lock.ids}
    newest = max(numbers, default=0)
    faulty = {id_of(fault.subject) for fault in files.faults if fault.code != "duplicate_number"}
    for migration in files.migrations:
        if migration.name not in lock.hashes and migration.id not in faulty:
            if migration.ordinal in numbers:
                seen = f"{numbers[migration.ordinal]}.sql has the same number."
                yield "duplicate_number", migration.name, seen
            elif migration.ordinal < newest:
                seen = f"{LOCK_FILE} doesn't name it, and its number is below {newest:04d}, which is taken."
                yield "out_of_order", migration.name, seen
            else:
                yield "unlocked", migration.name, f"{LOCK_FILE} doesn't name it."
        elif migration.rollback_content is not None and migration.rollback_name not in lock.hashes:
            yield "unlocked", migration.rollback_name, f"{LOCK_FILE} doesn't name it."


def compare_database(files: MigrationFolder, lock: LockFile | None, books: Bookkeeping) -> list[Finding]:
    """Return the faults of the bookkeeping, but for those that the files explain already."""
    by_id = {migration.id: migration for migration in files.migrations}
    locked = set(lock.ids) if lock and lock.broken is None else set(by_id)
    newest = max((row.ordinal for row in books.ledger.values()), default=0)
    faults: list[tuple[str, str, str]] = []
    explained: set[str] = set()
    for recorded in books.ledger.values():
        twin = _twin(recorded, by_id, locked, books)
        if twin is not None and recorded.state == "applied":
            faults.append(_under_another_name(recorded, twin, books))
            explained |= {recorded.id, twin.id}
    for id in sorted({*by_id, *books.ledger, *books.marks} - explained):
        migration, row, marked = by_id.get(id), books.ledger.get(id), id in books.marks
        if row is not None:
            known = migration is not None or id in locked
            faults += [
                (code, id, seen)
                for code, seen in _recorded(row, migration, lock, books.failures.get(id), known=known, marked=marked)
            ][:1]
        elif marked:
            faults.append(("unrecorded", id, "yoyo's table holds it, the ledger doesn't."))
        elif migration and id in locked and migration.ordinal < newest:
            faults.append(("out_of_order", id, f"It isn't applied, while the later number {newest:04d} is."))
        elif migration and id in locked:
            faults.append(("pending", id, "It isn't applied."))
    return [Finding(service=files.service, code=code, subject=subject, seen=seen) for code, subject, seen in faults]


def _twin(
    row: LedgerRow, by_id: Mapping[str, MigrationFile], locked: set[str], books: Bookkeeping
) -> MigrationFile | None:
    """Return the migration whose place a ledger row takes under an id that nobody knows."""
    if row.id in by_id or row.id in locked:
        return None
    places = (each for each in by_id.values() if each.id in locked and each.id not in books.ledger)
    return next((each for each in places if row.ordinal == each.ordinal), None)


def _under_another_name(row: LedgerRow, twin: MigrationFile, books: Bookkeeping) -> tuple[str, str, str]:
    """Return what it means that a ledger row takes the place of a migration under another id."""
    if twin.id in books.marks:
        return "ledger_altered", twin.id, f"The ledger calls it {row.id}; yoyo's table calls it as the files do."
    if row.sha256 == twin.sha256:
        return "renamed", twin.id, f"It was applied as {row.id}, with the same bytes."
    return "ahead_of_code", row.id, f"It was applied by release {row.tool_version}; here {twin.id} has that number."


def _recorded(
    row: LedgerRow,
    migration: MigrationFile | None,
    lock: LockFile | None,
    failure: str | None,
    *,
    known: bool,
    marked: bool,
) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a migration that the ledger holds, the gravest first."""
    if row.state == "started":
        begun = f"It was begun at {row.started_at:%Y-%m-%d %H:%M:%S%z} by {row.applied_by}"
        if failure is not None:
            yield "failed", f"{begun}, and failed: {failure}."
        else:
            yield "interrupted", f"{begun}."
        return
    if not known:
        if marked:
            yield "ahead_of_code", f"It was applied by release {row.tool_version}; this release doesn't know it."
        else:
            yield "ledger_altered", "Neither this release nor yoyo's table knows it; only the ledger holds it."
        return
    if altered := _altered(row):
        yield "ledger_altered", altered
    if migration and row.sha256 != migration.sha256 and _is_as_locked(migration.name, migration.sha256, lock):
        yield "modified", f"Its SHA-256 is {migration.sha256}; what was applied had {row.sha256}."
    if not marked:
        yield "unmarked", "The ledger holds it, yoyo's table doesn't."


def _altered(row: LedgerRow) -> str | None:
    """Return what the tool can't have written into a ledger row."""
    if str(row.ordinal).zfill(4) != row.id[:4]:
        return f"The ledger gives it the number {row.ordinal}."
    if row.applied_at is not None and row.applied_at < row.started_at:
        return f"It ended at {row.applied_at:%Y-%m-%d %H:%M:%S%z}, before it began."
    return None


def _is_as_locked(name: str, sha256: str, lock: LockFile | None) -> bool:
    """Tell whether a difference is news: one from the lock file has been reported already."""
    return lock is None or lock.broken is not None or lock.hashes.get(name) == sha256


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
