"""Data migrations in batches: one statement with a bound, repeated until it finds no more rows.

A file with `kind: data` and `transactional: false` holds one `insert`, `update`, `delete` or `merge` that changes at most so
many rows (`where id in (select … limit 1000)`) and that no longer finds those it has changed. Each batch is a transaction
of its own: it holds its row locks for a moment, and whoever is killed has lost one batch. A plain re-run goes on.
"""

from __future__ import annotations

from typing import Any, Final

import psycopg

from shared.migrations.errors import ApplyFailed, UsageError
from shared.migrations.files import MigrationFile
from shared.migrations.statements import split_statements

_CHANGES: Final = {"insert", "update", "delete", "merge"}


def is_batched(file: MigrationFile) -> bool:
    """Tell whether the statement of a migration is to be repeated until it finds no more rows."""
    return file.header.get("kind") == "data" and not file.transactional


def require_batch(file: MigrationFile) -> None:
    """Raise `UsageError` unless a file holds one statement that changes rows."""
    statements = split_statements(file.sql)
    if len(statements) == 1 and statements[0][0] in _CHANGES | {"with"}:
        return
    raise UsageError(
        f"{file.name} is a data migration outside of a transaction, and doesn't hold one insert, update, delete or merge.",
        why="Such a file is repeated, batch by batch, until it finds no more rows; nothing else can be repeated so.",
        remedy="bound the statement, such as by `where id in (select … limit 1000)`, or write `transactional: true`.",
    )


def rows_changed(name: str, cursor: psycopg.Cursor[tuple[Any, ...]]) -> int:
    """Return how many rows a batch changed, raising `ApplyFailed` for a statement that only reads."""
    if (cursor.statusmessage or "").split(" ")[0].lower() not in _CHANGES:
        raise ApplyFailed(
            f"{name} only reads: the server answered {cursor.statusmessage}.",
            why="It would be repeated for ever, as it never stops finding rows.",
            remedy="let its statement, after `with`, be an insert, update, delete or merge.",
        )
    return cursor.rowcount
