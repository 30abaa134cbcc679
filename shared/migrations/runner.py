"""Applies what is pending, in order, each migration as a whole; and reports where a database stands.

    read and check files → lock → bookkeeping tables → compare with the database → apply one by one → unlock

Anything that `verify` would complain about but pending and interrupted migrations stops it before the first change.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import psycopg

from shared.migrations.backend import FileMigration, LedgerBackend, in_order
from shared.migrations.blockers import BlockerWatch
from shared.migrations.errors import ApplyFailed, ExitCode, NeedsRepair, OperatorError, Unreachable
from shared.migrations.files import read_folder
from shared.migrations.findings import Finding
from shared.migrations.ledger import LedgerRow, connect, read_bookkeeping
from shared.migrations.lockfile import read_lock
from shared.migrations.verify import compare_database, compare_files

WAIT_SECONDS: Final = 30.0
LOCK_ATTEMPTS: Final = 5
_PAUSE_SECONDS: Final = 0.5
_REPAIRED_BY_UP: Final = {"pending", "interrupted"}

# yoyo announces each step at INFO; our own report says it better.
logging.getLogger("yoyo").setLevel(logging.WARNING)


class HasFindings(OperatorError):
    """The files or the database are not as they should be, so nothing was applied."""

    exit_code = ExitCode.FINDINGS

    def __init__(self, findings: list[Finding]) -> None:
        """Keep the findings, for those who list them."""
        first = findings[0]
        more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
        super().__init__(f"{first.code}: {first.subject}: {first.seen}{more}", why=first.why, remedy=first.remedy)
        self.findings = findings


class MigrationStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One migration and what the ledger knows of it."""

    id: str
    state: str
    purpose: str | None = None
    recorded: LedgerRow | None = None


def migrate_up(
    service: str,
    dsn: str,
    folder: Path | None = None,
    *,
    wait_seconds: float = WAIT_SECONDS,
    lock_attempts: int = LOCK_ATTEMPTS,
    announce: Callable[[str], None] = lambda _: None,
) -> list[str]:
    """Bring a service's database to the newest migration and return the ids applied now.

    `dsn` is the owner DSN, `folder` by default the one that came with this code; `announce` is told each id before it
    is applied. Raises `HasFindings`, `Busy`, `ApplyFailed`, `NeedsRepair`, `Unreachable` or `UsageError`.
    """
    files = read_folder(service, folder)
    lock = read_lock(service, files.path)
    if faults := compare_files(files, lock):
        raise HasFindings(faults)
    applied: list[str] = []
    with LedgerBackend(service, dsn) as backend, backend.exclusive(wait_seconds):
        backend.bootstrap()
        books = read_bookkeeping(backend.connection)
        faults = compare_database(files, lock, books)
        if blocking := [fault for fault in faults if fault.code not in _REPAIRED_BY_UP]:
            raise HasFindings(blocking)
        to_apply = {fault.subject for fault in faults}
        for migration in in_order(files.migrations):
            if migration.id in to_apply:
                announce(migration.id)
                apply(backend, dsn, migration, lock_attempts)
                applied.append(migration.id)
    return applied


def migration_status(service: str, dsn: str, folder: Path | None = None) -> list[MigrationStatus]:
    """Return every migration that the files or the database know, in order; only reads."""
    files = read_folder(service, folder)
    by_id = {migration.id: migration for migration in files.migrations}
    with connect(dsn, "migrate status", read_only=True) as connection:
        books = read_bookkeeping(connection)
    found = []
    for id in sorted({*by_id, *books.ledger}):
        row, migration = books.ledger.get(id), by_id.get(id)
        state = "pending" if row is None else {"started": "interrupted"}.get(row.state, row.state)
        purpose = migration.header.get("purpose") if migration else None
        found.append(MigrationStatus(id=id, state=state, purpose=purpose, recorded=row))
    return found


def apply(backend: LedgerBackend, dsn: str, migration: FileMigration, attempts: int) -> None:
    """Apply one migration, trying again while somebody else's lock is in the way."""
    for attempt in range(1, attempts + 1):
        with BlockerWatch(dsn, backend.connection.info.backend_pid) as blockers:
            try:
                backend.apply_one(migration)
            except psycopg.errors.LockNotAvailable as error:
                if attempt == attempts:
                    cause = f"it didn't get its locks in {attempt} attempts, because of {blockers}"
                    raise _failure(backend, migration, cause) from error
            except psycopg.Error as error:
                raise _failure(backend, migration, _place(error, migration)) from error
            else:
                return
        time.sleep(_PAUSE_SECONDS * attempt)


def _failure(backend: LedgerBackend, migration: FileMigration, cause: str) -> OperatorError:
    service, name = backend.service, migration.file.name
    again = f"plystractl migrate up --service {service}"
    if backend.connection.closed:
        return Unreachable(
            f"The connection was lost while {name} was being applied: {cause}.",
            why="It is applied as a whole if its commit was reached, and otherwise not at all.",
            remedy=f"bring the server back, then: {again}",
        )
    if migration.use_transactions:
        return ApplyFailed(
            f"{name} failed: {cause}.",
            why="It was rolled back: the database is as it was before this migration; earlier ones stay applied.",
            remedy=f"mend the cause, then: {again}",
        )
    return NeedsRepair(
        f"{name} failed: {cause}.",
        why="It can't run in a transaction, so it may have left something behind, such as an invalid index.",
        remedy=f"mend the cause, then: {again} (what it left of the indexes in its header is dropped first)",
    )


def _place(error: psycopg.Error, migration: FileMigration) -> str:
    """Return what the server said, with the line of the file that it said it of."""
    message = (error.diag.message_primary or str(error)).strip()
    detail = f" ({error.diag.message_detail})" if error.diag.message_detail else ""
    position = error.diag.statement_position
    if position is None:
        return f"{message}{detail}"
    line = migration.file.sql.count("\n", 0, int(position) - 1) + 1
    return f"line {line}: {message}{detail}"
