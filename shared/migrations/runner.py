"""Applies what is pending, in order, each migration as a whole; and reports where a database stands.

    read and check files → lock → bookkeeping tables → compare with the database → apply one by one → unlock

Anything that `verify` would complain about but pending and interrupted migrations stops it before the first change.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

import msgspec

from shared.migrations.attempts import LOCK_ATTEMPTS, Change, make_bookkeeping, make_change
from shared.migrations.backend import FileMigration, LedgerBackend, SchemaDigest, in_order
from shared.migrations.batches import is_batched
from shared.migrations.errors import ExitCode, OperatorError
from shared.migrations.expected import IsAsExpected
from shared.migrations.files import MigrationFolder, read_folder
from shared.migrations.findings import Finding
from shared.migrations.ledger import LedgerRow, connect, read_bookkeeping
from shared.migrations.lockfile import LockFile, read_lock
from shared.migrations.plan import REPAIRED_BY_UP, require_approved
from shared.migrations.verify import compare_database, compare_files

WAIT_SECONDS: Final = 30.0

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


class SchemaDiffers(OperatorError):
    """Everything is applied, and yet the schema isn't what the migrations make."""

    exit_code = ExitCode.FINDINGS

    def __init__(self, service: str, last: str, differences: list[str]) -> None:
        """Keep the differences, for those who list them."""
        super().__init__(
            f"The migrations of {service} are applied up to {last}, and the schema isn't what they make: "
            + "; ".join(differences),
            why="Somebody changed it past the migrations: the release was tested on another schema.",
            remedy="put the differences right by hand, as the owner, or make them the subject of a migration.",
        )
        self.differences = differences


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
    approved: str | None = None,
    announce: Callable[[str], None] = lambda _: None,
    progress: Callable[[str, int], None] = lambda _id, _rows: None,
    schema_digest: SchemaDigest | None = None,
    is_as_expected: IsAsExpected | None = None,
) -> list[str]:
    """Bring a service's database to the newest migration and return the ids applied now.

    `dsn` is the owner DSN, `folder` by default the one that came with this code. `approved` is the digest of the plan
    that may be carried out, or None where any may. `announce` is told each id before it is applied, `progress` the rows
    so far after each batch of a data migration; `schema_digest` describes the schema in the transaction of each
    migration, and `is_as_expected` is asked at the end whether it is what the migrations make.

    Raises `HasFindings`, `SchemaDiffers`, `Busy`, `ApplyFailed`, `NeedsRepair`, `Refused`, `Unreachable` or `UsageError`.
    """
    files, lock = read_checked(service, folder)
    applied: list[str] = []
    with (
        LedgerBackend(service, dsn, schema_digest=schema_digest, progress=progress) as backend,
        backend.exclusive(wait_seconds),
    ):
        if approved is not None:
            require_approved(backend.connection, files, lock, approved)
        make_bookkeeping(backend, dsn, lock_attempts)
        books = read_bookkeeping(backend.connection)
        faults = compare_database(files, lock, books)
        if blocking := [fault for fault in faults if fault.code not in REPAIRED_BY_UP]:
            raise HasFindings(blocking)
        to_apply = {fault.subject for fault in faults}
        for migration in in_order(files.migrations):
            if migration.id in to_apply:
                announce(migration.id)
                apply(backend, dsn, migration, lock_attempts)
                applied.append(migration.id)
        if is_as_expected is not None:
            ids = read_bookkeeping(backend.connection).applied
            if differences := is_as_expected(backend.connection, ids):
                raise SchemaDiffers(service, ids[-1] if ids else "none", differences)
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
        begun = "failed" if id in books.failures else "interrupted"
        state = "pending" if row is None else {"started": begun}.get(row.state, row.state)
        purpose = migration.header.get("purpose") if migration else None
        found.append(MigrationStatus(id=id, state=state, purpose=purpose, recorded=row))
    return found


def read_checked(service: str, folder: Path | None) -> tuple[MigrationFolder, LockFile | None]:
    """Read a folder and its lock file, raising `HasFindings` unless the one is what the other says."""
    files = read_folder(service, folder)
    lock = read_lock(service, files.path)
    if faults := compare_files(files, lock):
        raise HasFindings(faults)
    return files, lock


def apply(backend: LedgerBackend, dsn: str, migration: FileMigration, attempts: int = LOCK_ATTEMPTS) -> None:
    """Apply one migration, trying again while somebody else's lock is in the way."""
    kind: Literal["whole", "bare", "batched"] = "whole"
    if not migration.use_transactions:
        kind = "batched" if is_batched(migration.file) else "bare"
    change = Change(
        name=migration.file.name,
        text=migration.file.sql,
        kind=kind,
        run=lambda: backend.apply_one(migration),
        again=f"plystractl migrate up --service {backend.service}",
        note=lambda cause: None if migration.use_transactions else backend.note_failure(migration, cause),
    )
    make_change(backend, dsn, change, attempts)
