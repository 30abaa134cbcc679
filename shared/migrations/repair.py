"""Puts the bookkeeping right where it and the database disagree; never the schema, and only on proof.

The proof is the live schema: only when it is exactly what these migrations make is that recorded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from shared.migrations.attempts import make_bookkeeping
from shared.migrations.backend import FileMigration, LedgerBackend, in_order
from shared.migrations.bootstrap import Connection
from shared.migrations.errors import Refused, UsageError
from shared.migrations.expected import IsAsExpected
from shared.migrations.files import MigrationFile
from shared.migrations.findings import Finding
from shared.migrations.ledger import Bookkeeping, read_bookkeeping
from shared.migrations.runner import WAIT_SECONDS, HasFindings, read_checked
from shared.migrations.statements import split_statements
from shared.migrations.verify import compare_database

_BEGUN: Final = frozenset({"failed", "interrupted"})
_SETTLED: Final = frozenset({*_BEGUN, "unmarked", "unrecorded", "modified"})
_SHOWN: Final = 10


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """A migration whose record was put right, and what it says now."""

    id: str
    was: str
    is_now: str


def repair(
    service: str,
    dsn: str,
    is_as_expected: IsAsExpected,
    folder: Path | None = None,
    *,
    original: bytes | None = None,
    wait_seconds: float = WAIT_SECONDS,
) -> list[Settled]:
    """Settle what is interrupted, unmarked, unrecorded or modified, and return what was done; none when all is well.

    `original` is the content that a modified migration had when it was applied. Raises `Refused` with the differences
    when the live schema is neither what it is with those migrations nor without them, and `HasFindings` for other faults.
    """
    files, lock = read_checked(service, folder)
    with LedgerBackend(service, dsn, command="migrate repair") as backend, backend.exclusive(wait_seconds):
        books = read_bookkeeping(backend.connection)
        faults = [fault for fault in compare_database(files, lock, books) if fault.code != "pending"]
        if others := [fault for fault in faults if fault.code not in _SETTLED]:
            raise HasFindings(others)
        if not faults:
            return []
        modified = {fault.subject for fault in faults if fault.code == "modified"}
        doubtful = {fault.subject: fault for fault in faults if fault.code != "modified"}
        migrations = [each for each in in_order(files.migrations) if each.id in {*doubtful, *books.applied}]
        for migration in migrations:
            if migration.id in doubtful:
                _require_visible(migration.file, doubtful[migration.id])
            if migration.id in modified:
                _require_cosmetic(service, migration.file, books, original)
        applied = _applied_in_truth(backend.connection, service, migrations, doubtful, is_as_expected)
        make_bookkeeping(backend, dsn)
        settled = []
        with backend.transaction():
            for migration in migrations:
                if migration.id in {*doubtful, *modified}:
                    is_applied = migration.id in applied
                    backend.settle_one(migration, applied=is_applied)
                    was = doubtful[migration.id].code if migration.id in doubtful else "modified"
                    is_now = "recorded as applied" if is_applied else "recorded as not applied"
                    settled.append(Settled(id=migration.id, was=was, is_now=is_now))
        return settled


def baseline(
    service: str,
    dsn: str,
    last: str,
    is_as_expected: IsAsExpected,
    folder: Path | None = None,
    *,
    wait_seconds: float = WAIT_SECONDS,
) -> list[str]:
    """Record the migrations up to the id `last` as applied in a database without bookkeeping, and return their ids.

    For a schema that was restored by hand. Raises `Refused` with the differences when it isn't the one that they make.
    """
    files, _ = read_checked(service, folder)
    migrations = in_order(files.migrations)
    ids = [migration.id for migration in migrations]
    if last not in ids:
        raise UsageError(
            f"{service} has no migration {last}.",
            why="The database is recorded as migrated up to one that this release knows.",
            remedy=f"choose one of: {', '.join(ids)}",
        )
    ids = ids[: ids.index(last) + 1]
    with LedgerBackend(service, dsn, command="migrate baseline") as backend, backend.exclusive(wait_seconds):
        books = read_bookkeeping(backend.connection)
        if books.ledger or books.marks:
            raise Refused(
                f"The database of {service} has bookkeeping already: {len(books.ledger)} rows in the ledger, "
                f"{len(books.marks)} of yoyo's marks.",
                why="A baseline is the beginning of the bookkeeping; what was recorded is never written over.",
                remedy=f"plystractl migrate verify --service {service}",
            )
        if differences := is_as_expected(backend.connection, ids):
            raise _refused(service, f"what the migrations up to {last} make", differences)
        make_bookkeeping(backend, dsn)
        with backend.transaction():
            for migration in migrations[: len(ids)]:
                backend.settle_one(migration, applied=True)
    return ids


def _require_visible(file: MigrationFile, finding: Finding) -> None:
    """Refuse what the schema can't prove: how far a data migration has come."""
    if file.header["kind"] != "data":
        return
    again = f"plystractl migrate up --service {finding.service} (it goes on with what is left)"
    raise Refused(
        f"{file.id} is {finding.code}, and it is a data migration.",
        why="The schema can't tell whether it has run.",
        remedy=again if finding.code in _BEGUN else finding.remedy,
    )


def _require_cosmetic(service: str, file: MigrationFile, books: Bookkeeping, original: bytes | None) -> None:
    """Refuse an edit unless the bytes that were applied are at hand and say the same but for comments and spacing."""
    recorded = books.ledger[file.id].sha256
    if original is None or hashlib.sha256(original).hexdigest() != recorded:
        mistaken = ", and the original that was given is another" if original is not None else ""
        raise Refused(
            f"{file.name} was edited after it was applied{mistaken}.",
            why=f"Only the content with the SHA-256 {recorded} can prove that no more than comments changed.",
            remedy="fetch that content from version control, then: plystractl migrate repair "
            f"--service {service} --original FILE",
        )
    if split_statements(original.decode("utf-8")) != split_statements(file.sql):
        raise Refused(
            f"{file.name} was edited after it was applied, and not only its comments.",
            why="What ran elsewhere isn't what this file says: the same version then means two schemas.",
            remedy="restore the file from version control and put the change into a new migration.",
        )


def _applied_in_truth(
    connection: Connection,
    service: str,
    migrations: Sequence[FileMigration],
    doubtful: dict[str, Finding],
    is_as_expected: IsAsExpected,
) -> list[str]:
    """Return the ids that the live schema shows as applied: all, or all but the last few, if those are doubtful."""
    ids = [each.id for each in migrations]
    nearest: list[str] | None = None
    for kept in range(len(ids), -1, -1):
        if kept < len(ids) and ids[kept] not in doubtful:
            break  # something that is applied for certain comes after all that is left
        differences = is_as_expected(connection, ids[:kept])
        if not differences:
            count = kept
            while count and _shows_nothing(connection, ids[:count], doubtful, is_as_expected):
                count -= 1
            return ids[:count]
        if nearest is None or len(differences) < len(nearest):
            nearest = differences
    raise _refused(service, f"what it would be with or without {', '.join(doubtful) or 'them'}", nearest or [])


def _shows_nothing(
    connection: Connection, ids: Sequence[str], doubtful: dict[str, Finding], is_as_expected: IsAsExpected
) -> bool:
    """Tell whether the last migration was interrupted and the schema is the same without it: then it had better run again."""
    last = doubtful.get(ids[-1])
    return last is not None and last.code in _BEGUN and not is_as_expected(connection, ids[:-1])


def _refused(service: str, expected: str, differences: list[str]) -> Refused:
    shown = "; ".join(differences[:_SHOWN])
    more = f"; and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
    return Refused(
        f"The schema of {service} isn't {expected}: {shown}{more}.",
        why="Nothing is recorded that the schema doesn't prove. Nothing was changed.",
        remedy="put the differences right by hand, as the owner, and try again.",
    )
