"""What `migrate up` would do to a database, and a digest by which it can be told to do that and nothing else.

Nothing is written. The digest of one service is `authz:<database>-<applied>-<pending>-<release>`, each part the beginning
of a SHA-256, so that a later comparison can say which of them has changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from shared.migrations.backend import in_order
from shared.migrations.bootstrap import Connection
from shared.migrations.errors import Refused
from shared.migrations.files import MigrationFile, MigrationFolder, read_folder
from shared.migrations.findings import Finding
from shared.migrations.ledger import QUERIES, Bookkeeping, connect, read_bookkeeping
from shared.migrations.lock_estimate import LockTaken, estimate_locks
from shared.migrations.lockfile import LockFile, read_lock
from shared.migrations.verify import compare_database, compare_files
from shared.release import SERVICE_VERSION

REPAIRED_BY_UP: Final = frozenset({"pending", "failed", "interrupted"})
_PART_LENGTH: Final = 16
_PARTS: Final = {
    "database": "it is another database",
    "applied": "other migrations are applied",
    "pending": "other migrations, or other bytes of them, are pending",
    "release": "it was made by another release of plystractl",
}


class PlannedMigration(msgspec.Struct, frozen=True, kw_only=True):
    """A migration that would be applied; `locks` is the header's word, `estimated_locks` what its statements suggest."""

    id: str
    state: str
    purpose: str
    kind: str
    phase: str
    transactional: bool
    locks: str
    estimated_locks: list[LockTaken]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What `migrate up` would do to one database, in order."""

    service: str
    database: str
    applied: list[str]
    pending: list[PlannedMigration]
    digest: str


def make_plan(service: str, dsn: str, folder: Path | None = None) -> tuple[Plan, list[Finding]]:
    """Return what `migrate up` would do, and the findings that would keep it from doing anything; only reads."""
    files = read_folder(service, folder)
    lock = read_lock(service, files.path)
    with connect(dsn, "migrate plan", read_only=True) as connection:
        books = read_bookkeeping(connection)
        identity = _identify(connection)
    faults = compare_files(files, lock) or compare_database(files, lock, books)
    pending = [
        PlannedMigration(
            id=file.id,
            state=next(fault.code for fault in faults if fault.subject == file.id),
            purpose=file.header["purpose"],
            kind=file.header["kind"],
            phase=file.header["phase"],
            transactional=file.transactional,
            locks=file.header["locks"],
            estimated_locks=estimate_locks(file.sql),
        )
        for file in pending_files(files, faults)
    ]
    digest = _digest(service, identity, books, pending_files(files, faults))
    plan = Plan(service=service, database=identity[-1], applied=books.applied, pending=pending, digest=digest)
    return plan, [fault for fault in faults if fault.code not in REPAIRED_BY_UP]


def pending_files(files: MigrationFolder, faults: Iterable[Finding]) -> list[MigrationFile]:
    """Return the migrations that `up` would apply, in the order of their application."""
    wanted = {fault.subject for fault in faults if fault.code in REPAIRED_BY_UP}
    return [migration.file for migration in in_order(files.migrations) if migration.id in wanted]


def require_approved(connection: Connection, files: MigrationFolder, lock: LockFile | None, approved: str) -> None:
    """Raise `Refused` unless the plan as of now is one of those whose digests are given, separated by commas.

    For use under the lock and before the first change, so that nothing can come in between.
    """
    books = read_bookkeeping(connection)
    faults = compare_database(files, lock, books)
    fresh = _digest(files.service, _identify(connection), books, pending_files(files, faults))
    given = dict(part.strip().partition(":")[::2] for part in approved.split(","))
    service, _, now = fresh.partition(":")
    if given.get(service) == now:
        return
    if service not in given:
        changed = "it is not about this service"
    else:
        parts = zip(_PARTS.values(), given[service].split("-"), now.split("-"), strict=False)
        changed = "; ".join(text for text, then, is_now in parts if then != is_now) or "it is no digest of a plan"
    raise Refused(
        f"The plan that was given is not the plan for {service} as it is now: {changed}.",
        why="What would be done isn't what was looked at. Nothing was changed.",
        remedy=f"plystractl migrate plan --service {service}, and if that is what you want: "
        f"plystractl migrate up --service {service} --yes --plan {fresh}",
    )


def _identify(connection: Connection) -> tuple[str, ...]:
    row = connection.execute(QUERIES["identify_database"]).fetchone() or ()
    return tuple(map(str, row))


def _digest(service: str, identity: Iterable[str], books: Bookkeeping, pending: Iterable[MigrationFile]) -> str:
    parts: Mapping[str, Iterable[str]] = {
        "database": identity,
        "applied": (f"{row.id} {row.sha256} {row.state}" for row in books.ledger.values()),
        "pending": (f"{file.id} {file.sha256}" for file in pending),
        "release": (SERVICE_VERSION,),
    }
    shortened = (
        hashlib.sha256("\n".join((service, name, *parts[name])).encode()).hexdigest()[:_PART_LENGTH] for name in _PARTS
    )
    return f"{service}:{'-'.join(shortened)}"
