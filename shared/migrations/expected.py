"""What the runner and `repair` ask of the expected catalogue, as functions: is the schema as expected, and its digest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from shared.catalogue.model import digest
from shared.catalogue.snapshot import snapshot, snapshot_within
from shared.migrations.bootstrap import Connection
from shared.migrations.files import default_folder
from shared.migrations.schema import compare_at, load_schema_lock, require_same_major

# The differences between the live schema and that after the given migrations, in words; none means that they are equal.
IsAsExpected = Callable[[Connection, Sequence[str]], list[str]]


def by_schema_lock(service: str, folder: Path | None = None) -> IsAsExpected:
    """Return the comparison with the catalogue that `schema.lock.json` of a folder expects.

    It raises `CannotCompare` where there is no such file, or on a server of another major version.
    """

    def is_as_expected(connection: Connection, applied: Sequence[str]) -> list[str]:
        lock = load_schema_lock(service, folder or default_folder(service))
        require_same_major(lock, connection)
        return [str(difference) for difference in compare_at(lock, applied, snapshot(connection, service))]

    return is_as_expected


def digest_of_schema(service: str) -> Callable[[Connection], str]:
    """Return what describes the schema at the end of a migration's transaction, for the ledger."""
    return lambda connection: digest(snapshot_within(connection, service))
