"""Takes the last applied migration back, one step: for development, where a migration is still being written."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from shared.migrations.attempts import LOCK_ATTEMPTS, Change, make_bookkeeping, make_change
from shared.migrations.backend import FileMigration, LedgerBackend
from shared.migrations.errors import UsageError
from shared.migrations.ledger import read_bookkeeping
from shared.migrations.runner import WAIT_SECONDS, HasFindings, read_checked
from shared.migrations.statements import split_statements
from shared.migrations.verify import compare_database

_WORDS_BEFORE_CONCURRENTLY: Final = 3  # `drop index concurrently`, `create unique index concurrently`


def migrate_down(
    service: str,
    dsn: str,
    folder: Path | None = None,
    *,
    wait_seconds: float = WAIT_SECONDS,
    lock_attempts: int = LOCK_ATTEMPTS,
) -> str | None:
    """Undo the last applied migration by its rollback file and return its id; None when nothing is applied.

    Raises `HasFindings`, also for an interrupted migration, and else what `migrate_up` raises.
    """
    files, lock = read_checked(service, folder)
    with LedgerBackend(service, dsn, command="migrate down") as backend, backend.exclusive(wait_seconds):
        books = read_bookkeeping(backend.connection)
        faults = compare_database(files, lock, books)
        if blocking := [fault for fault in faults if fault.code != "pending"]:
            raise HasFindings(blocking)
        if not books.applied:
            return None
        make_bookkeeping(backend, dsn, lock_attempts)  # an earlier release's ledger lacks a column
        id = books.applied[-1]
        migration = FileMigration(next(file for file in files.migrations if file.id == id))
        make_change(backend, dsn, _undoing(backend, migration), lock_attempts)
        return id


def _undoing(backend: LedgerBackend, migration: FileMigration) -> Change:
    name, content = migration.file.rollback_name, migration.file.rollback_content
    if content is None:  # cannot be: its absence is a finding
        raise AssertionError(name)
    text = content.decode("utf-8")
    in_transaction = not _is_concurrent(name, text)
    return Change(
        name=name,
        text=text,
        kind="whole" if in_transaction else "bare",
        run=lambda: backend.undo_one(migration, name, text, in_transaction=in_transaction),
        again=f"plystractl migrate {'down' if in_transaction else 'up'} --service {backend.service}",
    )


def _is_concurrent(name: str, text: str) -> bool:
    """Tell whether a rollback file can't run in a transaction; then it must hold nothing else."""
    statements = split_statements(text)
    if not any("concurrently" in statement[: _WORDS_BEFORE_CONCURRENTLY + 1] for statement in statements):
        return False
    if len(statements) > 1:
        raise UsageError(
            f"{name} holds a statement that works concurrently, and others beside it.",
            why="Outside of a transaction each statement stands alone, so only one can be begun and interrupted.",
            remedy="split the migration, so that each rollback file holds one such statement or none.",
        )
    return True
