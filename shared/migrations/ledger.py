"""What a database says of itself: our ledger of applied migrations, and yoyo's table of marks beside it."""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
import psycopg
from psycopg import sql
from psycopg.rows import class_row

from shared.db import load_queries
from shared.migrations.bootstrap import Connection, Roles
from shared.migrations.errors import CannotCompare, Unreachable, UsageError

YOYO_TABLE: Final = "_yoyo_migration"

QUERIES: Final = load_queries(Path(__file__).with_name("queries.sql"))


class LedgerRow(msgspec.Struct, frozen=True, kw_only=True):
    """One migration as recorded when it was applied; `started` means that it was begun and its end never recorded."""

    id: str
    ordinal: int
    sha256: str
    state: str
    started_at: datetime
    applied_at: datetime | None
    applied_by: str
    tool_version: str
    schema_digest: str | None = None


class Bookkeeping(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a database says about its migrations."""

    ledger: dict[str, LedgerRow]
    marks: frozenset[str]
    failures: dict[str, str] = {}  # how a migration failed that is begun, as far as this user may read that

    @property
    def applied(self) -> list[str]:
        """The ids of what the ledger calls applied, in order."""
        return [row.id for row in self.ledger.values() if row.state == "applied"]


def connect(dsn: str, command: str, *, read_only: bool) -> Connection:
    """Open a connection in autocommit, named `plystractl <command>`; a read-only one can't write by accident.

    Whatever the environment and the database say, texts come as UTF-8 and times in a form that can be read.
    """
    options = "-c default_transaction_read_only=on" if read_only else ""
    name = f"plystractl {command}"
    try:
        connection = psycopg.connect(
            dsn, autocommit=True, application_name=name, options=options, connect_timeout=10, client_encoding="UTF8"
        )
        connection.execute("set datestyle = 'ISO, YMD'")
    except psycopg.ProgrammingError as error:
        raise UsageError(
            f"The DSN isn't one: {str(error).strip()}.",
            why="Without it there is no telling which database is meant.",
            remedy="write it as postgresql://user:password@host:port/database",
        ) from error
    except psycopg.OperationalError as error:
        raise Unreachable(
            f"The database {describe(dsn)} can't be reached: {str(error).strip()}",
            why="Nothing was read and nothing was changed.",
            remedy="check that the server runs and that host, port, user and password of the DSN are right.",
        ) from error
    return connection


def describe(dsn: str) -> str:
    """Return a DSN as far as it may be shown: without its password."""
    try:
        parts = psycopg.conninfo.conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        return "(not a DSN)"
    place = f"{parts.get('host', 'localhost')}:{parts.get('port', 5432)}"
    return f"{parts.get('dbname', '')} on {place} as {parts.get('user', '')}"


def read_bookkeeping(connection: Connection) -> Bookkeeping:
    """Read ledger and marks, in one snapshot; a table that isn't there yet is an empty one."""
    with connection.transaction():
        connection.execute("set transaction isolation level repeatable read")
        try:
            ledger: dict[str, LedgerRow] = {}
            if _exists(connection, "public._migration_ledger"):
                with connection.cursor(row_factory=class_row(LedgerRow)) as cursor:
                    ledger = {row.id: row for row in cursor.execute(QUERIES["load_ledger"])}
            marks: set[str] = set()
            if _exists(connection, f"public.{YOYO_TABLE}"):
                marks = {str(id) for (id,) in connection.execute(QUERIES["load_marks"])}
            failures: dict[str, str] = {}
            if any(row.state == "started" for row in ledger.values()) and _may_read_log(connection):
                failures = {str(id): str(cause) for id, cause in connection.execute(QUERIES["load_failures"])}
        except psycopg.errors.InsufficientPrivilege as error:
            user, database = connection.info.user, connection.info.dbname
            raise CannotCompare(
                f"The user {user} may not read the bookkeeping tables in {database}: {str(error).strip()}.",
                why="Whether the migrations are applied as they should be remains unknown.",
                remedy=f"as the owner: grant select on public._migration_ledger, public.{YOYO_TABLE} to {user};",
            ) from error
    return Bookkeeping(ledger=ledger, marks=frozenset(marks), failures=failures)


def grant_reading(service: str) -> sql.Composed:
    """Return the statement that lets the service and its readers see the bookkeeping."""
    roles = Roles(service)
    return sql.SQL(QUERIES["grant_reading"]).format(app=sql.Identifier(roles.app), reader=sql.Identifier(roles.reader))


def lock_key(service: str) -> int:
    """Return the key of the advisory lock that one migrate of a service holds, the same in every release."""
    digest = hashlib.sha256(f"plystra migrate {service}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def _may_read_log(connection: Connection) -> bool:
    if not _exists(connection, "public._yoyo_log"):
        return False
    row = connection.execute(QUERIES["may_read_log"]).fetchone()
    return bool(row and row[0])


def _exists(connection: Connection, table: str) -> bool:
    row = connection.execute(QUERIES["table_exists"], {"name": table}).fetchone()
    return bool(row and row[0])
