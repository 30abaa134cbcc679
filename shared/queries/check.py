"""Prepares every statement of a service on a live database and compares what it says with what the code expects."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import psycopg
from psycopg import sql

from shared.migrations.bootstrap import Connection, Roles
from shared.migrations.errors import CannotCompare, Unreachable
from shared.migrations.ledger import connect
from shared.migrations.ledger import describe as describe_dsn
from shared.queries.describing import describe
from shared.queries.findings import QueryFinding
from shared.queries.lock import (
    QUERIES_LOCK_FILE,
    Description,
    QueriesLock,
    digest,
    read_lock,
    sources,
    texts_of,
)

_CODES: Final[dict[type[psycopg.Error], str]] = {
    psycopg.errors.UndefinedTable: "table_missing",
    psycopg.errors.InvalidSchemaName: "table_missing",
    psycopg.errors.UndefinedColumn: "column_missing",
    psycopg.errors.UndefinedFunction: "function_missing",
    psycopg.errors.UndefinedObject: "type_missing",
    psycopg.errors.InsufficientPrivilege: "right_missing",
}


class _Lacking(msgspec.Struct, frozen=True):
    """A statement as the server refused it."""

    code: str
    seen: str


def check_queries(service: str, dsn: str, folder: Path | None = None) -> list[QueryFinding]:
    """Return every fault of a service's statements on a database; only reads, and executes none of them.

    With a DSN of the service's own role, or of one that may `set role` to it, its rights are looked at too. `folder` is
    where its SQL files and their lock file are. Raises `CannotCompare` when nothing can be said, and `Unreachable`.
    """
    folder = folder or sources(service)
    lock = load_lock(service, folder)
    with connect(dsn, "schema check", read_only=True) as connection:
        is_app = _become(connection, Roles(service).app)
        try:
            return [*stale_queries(lock, folder), *_check_each(connection, lock, folder, is_app=is_app)]
        except psycopg.OperationalError as error:
            raise Unreachable(
                f"The connection to {describe_dsn(dsn)} was lost: {str(error).strip()}",
                why="The statements that were left are not compared.",
                remedy="bring the server back, and run this again.",
            ) from error


def load_lock(service: str, folder: Path) -> QueriesLock:
    """Read the lock file of a service's statements, raising `CannotCompare` when it can't be read."""
    why, remedy = (
        "It says what the code expects of them.",
        "restore it from version control, or install the release anew.",
    )
    try:
        lock = read_lock(folder)
    except msgspec.DecodeError as error:
        raise CannotCompare(f"{folder / QUERIES_LOCK_FILE} can't be read: {error}.", why=why, remedy=remedy) from error
    if lock is None:
        raise CannotCompare(f"There is no {folder / QUERIES_LOCK_FILE}.", why=why, remedy=remedy)
    if lock.service != service:
        raise CannotCompare(f"{folder / QUERIES_LOCK_FILE} is that of {lock.service}.", why=why, remedy=remedy)
    return lock


def stale_queries(lock: QueriesLock, folder: Path) -> list[QueryFinding]:
    """Return a finding for each statement of the files that the lock file doesn't have as it is, or that is no more."""
    texts = texts_of(folder)
    locked = {(query.file, query.template) for query in lock.queries}
    faults = [
        _finding(lock.service, "query_lock_stale", file, name, f"{QUERIES_LOCK_FILE} doesn't know it.")
        for file, statements in texts.items()
        for name in statements
        if (file, name) not in locked
    ]
    for query in lock.queries:
        text = texts.get(query.file, {}).get(query.template) if query.text is None else query.text
        if text is None or digest(text) != query.sha256:
            seen = (
                "Its file doesn't have it."
                if text is None
                else "Its text isn't the one that was compared with the code."
            )
            faults.append(_finding(lock.service, "query_lock_stale", query.file, query.name, seen))
    return faults


def compare(expected: Description, found: Description) -> Iterator[tuple[str, str]]:
    """Yield the code and the sentence of everything in which a statement isn't what is expected."""
    if found.parameters != expected.parameters:
        yield "parameters_changed", f"It takes ({', '.join(found.parameters)}), not ({', '.join(expected.parameters)})."
    names = [column.name for column in found.columns]
    wanted = [column.name for column in expected.columns]
    if names != wanted:
        yield "columns_changed", f"Its rows are ({', '.join(names)}), not ({', '.join(wanted)})."
        return
    for was, now in zip(expected.columns, found.columns, strict=True):
        if now.type != was.type:
            yield "column_type_changed", f"The column {now.name} is {now.type}, not {was.type}."
        if now.origin != was.origin:
            yield (
                "column_origin_changed",
                f"The column {now.name} shows {now.origin or 'no column of a table'}, not {was.origin}.",
            )
        elif was.not_null and not now.not_null:
            yield "column_may_be_null", f"The column {now.name} shows {now.origin}, which may be null now."


def _check_each(connection: Connection, lock: QueriesLock, folder: Path, *, is_app: bool) -> Iterator[QueryFinding]:
    texts = texts_of(folder)
    if not is_app:
        seen = f"The user {connection.info.user} may not become {Roles(lock.service).app}."
        yield QueryFinding(service=lock.service, code="rights_unknown", subject=f"all {len(lock.queries)}", seen=seen)
    for query in lock.queries:
        text = query.text or texts.get(query.file, {}).get(query.name)
        if text is None:
            continue  # told of already, as stale
        found = _prepare(connection, text)
        if isinstance(found, _Lacking):
            if is_app or found.code != "right_missing":  # another user's rights say nothing
                yield _finding(lock.service, found.code, query.file, query.name, found.seen, folder)
            continue
        for code, seen in compare(Description(parameters=query.parameters, columns=query.columns), found):
            yield _finding(lock.service, code, query.file, query.name, seen, folder)


def _prepare(connection: Connection, text: str) -> Description | _Lacking:
    try:
        return describe(connection, text)
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        code = next((code for kind, code in _CODES.items() if isinstance(error, kind)), "not_preparable")
        return _Lacking(code, f"The server says: {(error.diag.message_primary or str(error)).strip()}.")


def _become(connection: Connection, role: str) -> bool:
    """Take on a role if that is allowed, and tell whether it is the one that statements are prepared as."""
    if connection.info.user == role:
        return True
    try:
        connection.execute(sql.SQL("set role {}").format(sql.Identifier(role)))
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedObject, psycopg.errors.InvalidParameterValue):
        return False
    return True


def _finding(service: str, code: str, file: str, name: str, seen: str, folder: Path | None = None) -> QueryFinding:
    """Name a statement by the line of its file on which it begins."""
    path = (folder or sources(service)) / file
    head = re.compile(rf"^-- name: {re.escape(name.partition(' ')[0])}$", re.MULTILINE)
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    match = head.search(text)
    line = f":{text.count(chr(10), 0, match.start()) + 1}" if match else ""
    return QueryFinding(service=service, code=code, subject=f"services/{service}/{file}{line} {name}", seen=seen)
