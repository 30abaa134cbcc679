"""Compares a database's catalogue with the one that is expected after the migrations that are applied to it.

A migration that is pending is no drift: what is expected is what `schema.lock.json` has for exactly the applied ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import psycopg

from shared.catalogue.compare import differences
from shared.catalogue.model import Catalogue, Difference, root_of
from shared.catalogue.schema_lock import SCHEMA_LOCK_FILE, SchemaLock, UnknownPoint, line_of, read_schema_lock
from shared.catalogue.snapshot import snapshot
from shared.migrations.bootstrap import Connection
from shared.migrations.errors import CannotCompare
from shared.migrations.files import default_folder
from shared.migrations.findings import Finding
from shared.migrations.ledger import Bookkeeping, connect, read_bookkeeping

SCHEMA_FAULT: Final = "schema_differs"
_BOOKKEEPING = ("table public._migration_ledger", "table public._yoyo", "table public.yoyo_lock")
# What `up` adds to the bookkeeping of an earlier release, before the migrations that are pending there.
_ADDED_BY_UP: Final = ("column public._migration_ledger.schema_digest",)


class OtherMajor(CannotCompare):
    """The server is of another major version than the one that the expected catalogue was taken on."""


class SchemaCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What a check found; `expected_at` is the last applied migration, None before the first."""

    expected_at: str | None
    differences: list[Difference]


def check_schema(service: str, connection: Connection, folder: Path | None = None) -> SchemaCheck:
    """Return everything in which the database that the connection is on isn't as expected; only reads.

    `folder` holds the service's migrations and their lock file. Raises `CannotCompare` when nothing can be said.
    """
    lock = load_schema_lock(service, folder or default_folder(service))
    require_same_major(lock, connection)
    try:
        books = read_bookkeeping(connection)
        live = snapshot(connection, service)
    except psycopg.errors.InsufficientPrivilege as error:
        raise CannotCompare(
            f"The user {connection.info.user} may not read the catalogue: {str(error).strip()}.",
            why="Whether the schema is as expected remains unknown.",
            remedy="connect as a role that may read PostgreSQL's catalogue, such as a member of the reader.",
        ) from error
    found = compare_schema(lock, books, live)
    _require_bookkeeping(service, books, live)
    return found


def _require_bookkeeping(service: str, books: Bookkeeping, live: Catalogue) -> None:
    """Raise `CannotCompare` where the bookkeeping can't say what is applied.

    What it has lost would seem to be unexpected, and the SQL that takes that away would take all rows along.
    """
    if interrupted := [row.id for row in books.ledger.values() if row.state != "applied"]:
        found, next_ = f"{interrupted[0]} was begun, and its end never recorded.", "migrate repair"
    elif unrecorded := sorted(books.marks - books.ledger.keys()):
        found, next_ = f"{unrecorded[0]} is applied by yoyo's table, and the ledger doesn't have it.", "migrate verify"
    elif not books.ledger and any(key.startswith(f"table {service}.") for key in live.objects):
        found, next_ = f"There are tables of {service}, and no migration is recorded.", "migrate verify"
    else:
        return
    raise CannotCompare(
        found,
        why="Without knowing what is applied there is no telling what is expected; nothing here is to be dropped.",
        remedy=f"plystractl {next_} --service {service}",
    )


def verify_schema(service: str, dsn: str, folder: Path | None = None) -> list[Finding]:
    """Return a finding for each way in which the schema isn't as expected; call it once the bookkeeping is known to be right.

    Raises `CannotCompare` when nothing can be said.
    """
    folder = folder or default_folder(service)
    with connect(dsn, "migrate verify", read_only=True) as connection:
        found = check_schema(service, connection, folder)
    return [difference_fault(service, each, line_of(folder, each.object)) for each in found.differences]


def difference_fault(service: str, difference: Difference, line: int | None) -> Finding:
    """Return a difference as a finding; `line` is that of schema.lock.json which has the object."""
    return Finding(service=service, code=SCHEMA_FAULT, subject=difference.object, seen=f"{difference}.", lock_line=line)


def require_same_major(lock: SchemaLock, connection: Connection) -> None:
    """Raise `CannotCompare` on a server of another major version than the lock file was made on."""
    major = connection.info.server_version // 10000
    if major != lock.postgres_major:
        raise OtherMajor(
            f"The server is PostgreSQL {major}; the expected catalogue of {lock.service} was taken on {lock.postgres_major}.",
            why="Another major version describes the same schema in other words, so a difference would mean nothing.",
            remedy=f"compare on PostgreSQL {lock.postgres_major}, or there: plystractl migrate diff --service {lock.service}",
        )


def compare_schema(lock: SchemaLock, books: Bookkeeping, live: Catalogue) -> SchemaCheck:
    """Return in what a catalogue isn't as a lock file expects it after what is applied."""
    applied = sorted(books.applied)
    return SchemaCheck(expected_at=applied[-1] if applied else None, differences=compare_at(lock, applied, live))


def compare_at(lock: SchemaLock, applied: Sequence[str], live: Catalogue) -> list[Difference]:
    """Return in what a catalogue isn't as a lock file expects it after these migrations.

    Bookkeeping is expected only where there is any: not before the first `migrate up`, nor before a baseline. What the next
    `up` will add to it is expected once nothing is pending: then it was added, and is gone.
    """
    try:
        expected = lock.at(applied)
    except UnknownPoint as error:
        raise CannotCompare(
            f"{error.args[0]} is applied, and isn't what {SCHEMA_LOCK_FILE} has at that place.",
            why="For this set of migrations no catalogue is expected, so nothing can be compared.",
            remedy=f"see what is wrong with them: plystractl migrate verify --service {lock.service}",
        ) from error
    if not any(key.startswith(_BOOKKEEPING) for key in live.objects):
        expected = _without(expected, lambda key: root_of(expected.objects, key).startswith(_BOOKKEEPING))
    elif len(applied) < len(lock.ids):
        expected = _without(expected, lambda key: key in _ADDED_BY_UP and key not in live.objects)
    return differences(expected, live)


def load_schema_lock(service: str, folder: Path) -> SchemaLock:
    """Read a lock file, raising `CannotCompare` when there is none or it can't be read."""
    remedy = f"restore it from version control, or: plystractl migrate diff --service {service}"
    why = "It says what the catalogue is to be."
    try:
        lock = read_schema_lock(folder)
    except msgspec.DecodeError as error:
        raise CannotCompare(f"{folder / SCHEMA_LOCK_FILE} can't be read: {error}.", why=why, remedy=remedy) from error
    if lock is None:
        raise CannotCompare(f"There is no {folder / SCHEMA_LOCK_FILE}.", why=why, remedy=remedy)
    return lock


def _without(catalogue: Catalogue, is_pending: Callable[[str], bool]) -> Catalogue:
    """Return what is expected before `migrate up` has made what is pending of its bookkeeping."""
    kept = {key: attributes for key, attributes in catalogue.objects.items() if not is_pending(key)}
    return Catalogue(postgres_major=catalogue.postgres_major, objects=kept)
