"""Reads what a database holds, so that it can be told in a manifest and compared after a restore."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import psycopg
from psycopg import IsolationLevel, sql

from shared.ctl.backups.faults import BackupFault
from shared.ctl.backups.manifest import (
    AuditCheckpoint,
    AuthzCheckpoint,
    Checkpoint,
    Contents,
    Migration,
    Producer,
    Table,
)
from shared.db import load_queries
from shared.merkle import TreeHash
from shared.migrations.errors import CannotCompare
from shared.recorded import EventRefused, Recorded, read_event

Connection = psycopg.Connection[Any]
Progress = Callable[[str], None]

SQL: Final = load_queries(Path(__file__).with_name("contents.sql"))
_ROWS_A_FETCH: Final = 5_000
# Four sums of 64 bits each: all 256 bits of a row's hash count, and none of them overflows a numeric.
_LANES: Final = sql.SQL(
    ", ".join(
        f"coalesce(sum(('x' || substr(h, {1 + 16 * lane}, 16))::bit(64)::bigint::numeric), 0)" for lane in range(4)
    )
)
_COLUMNS: Final = Recorded.__struct_fields__


def begin_reading(connection: Connection) -> None:
    """Let a connection's next transaction be one snapshot, and its texts the same everywhere."""
    connection.isolation_level = IsolationLevel.REPEATABLE_READ
    connection.execute(SQL["settle_texts"])


def read_contents(connection: Connection, service: str, progress: Progress) -> Contents:
    """Read everything; within the transaction that the caller has begun."""
    try:
        migrations = [Migration(id=id, sha256=sha) for id, sha in connection.execute(SQL["read_migrations"])]
        names = connection.execute(SQL["list_tables"]).fetchall()
        tables = []
        for schema, name in names:
            progress(f"reading {schema}.{name}")
            tables.append(_read_table(connection, schema, name))
        progress("reading how far it is")
        return Contents(migrations=migrations, tables=tables, checkpoint=_read_checkpoint(connection, service))
    except (
        psycopg.errors.UndefinedTable,
        psycopg.errors.InvalidSchemaName,
        psycopg.errors.InsufficientPrivilege,
    ) as error:
        raise CannotCompare(
            f"This isn't {service}'s database, or its user may not read it: {str(error).splitlines()[0]}.",
            why="What can't be read whole can't be told in a manifest.",
            remedy=f"check that the DSN is that of {service}'s owner; then: plystractl migrate status --service {service}",
        ) from error


def differences(expected: Contents, found: Contents) -> Iterator[BackupFault]:
    """Yield where a restored database parts from what was dumped."""
    if expected.migrations != found.migrations:
        seen = f"{found.schema_version or 'no migration'} is the newest, {expected.schema_version} was"
        yield BackupFault(code="migrations_differ", subject="public._migration_ledger", seen=seen)
    before, after = ({table.name: table for table in side.tables} for side in (expected, found))
    for name in sorted(before.keys() | after.keys()):
        one, other = before.get(name), after.get(name)
        if one is None or other is None:
            seen = "it wasn't dumped" if one is None else "it isn't there"
            yield BackupFault(code="rows_differ", subject=name, seen=seen)
        elif one != other:
            seen = f"{other.rows} rows, {one.rows} were dumped" if one.rows != other.rows else "rows with other values"
            yield BackupFault(code="rows_differ", subject=name, seen=seen)
    if expected.checkpoint != found.checkpoint:
        seen = f"{tell(found.checkpoint)}; dumped was {tell(expected.checkpoint)}"
        yield BackupFault(code="checkpoint_differs", subject="the checkpoint", seen=seen)


def tell(checkpoint: Checkpoint) -> str:
    """Say in a few words how far a database is."""
    if isinstance(checkpoint, AuthzCheckpoint):
        return f"revision {checkpoint.revision}, {len(checkpoint.written)} writers"
    return f"{checkpoint.size} entries, tree hash {checkpoint.tree_hash[:16]}…"


def check_log(connection: Connection) -> Iterator[BackupFault]:
    """Yield the first entry that isn't what its leaf says, or stands at the wrong place."""
    statement = sql.SQL(SQL["stream_log"]).format(columns=sql.SQL(", ").join(map(sql.Identifier, _COLUMNS)))
    id_at = _COLUMNS.index("event_id")
    with connection.cursor("log") as cursor:
        cursor.itersize = _ROWS_A_FETCH
        last_recorded_at = None
        for expected, (index, recorded_at, *values) in enumerate(cursor.execute(statement)):
            values[id_at] = str(values[id_at])
            seen = None
            if index != expected:
                seen = f"it follows entry {expected - 1}"
            elif last_recorded_at is not None and recorded_at < last_recorded_at:
                seen = "it was recorded before the entry before it"
            else:
                seen = _parts_from_leaf(values)
            if seen is not None:
                yield BackupFault(code="log_damaged", subject=f"audit.entry {index}", seen=seen)
                return
            last_recorded_at = recorded_at
    unnamed = connection.execute(SQL["find_unnamed"]).fetchone()
    if unnamed is not None:
        seen = "event id and index don't lead to each other"
        yield BackupFault(code="log_damaged", subject=f"audit.entry_by_event {unnamed[0]}", seen=seen)


def _parts_from_leaf(values: list[Any]) -> str | None:
    try:
        derived = read_event(bytes(values[-1]))
    except EventRefused as refused:
        return f"its leaf is no event: {refused}"
    for column, stored, value in zip(_COLUMNS, values, msgspec.structs.astuple(derived), strict=True):
        if stored != value:
            return f"{column} isn't what the leaf says"
    return None


def _read_table(connection: Connection, schema: str, name: str) -> Table:
    statement = sql.SQL(SQL["hash_table"]).format(lanes=_LANES, table=sql.Identifier(schema, name))
    row = connection.execute(statement).fetchone()
    assert row is not None  # an aggregate returns one row always
    count, *lanes = row
    content = hashlib.sha256(":".join(f"{int(lane)}" for lane in lanes).encode()).hexdigest()
    return Table(name=f"{schema}.{name}", rows=count, content=content)


def _read_checkpoint(connection: Connection, service: str) -> Checkpoint:
    if service == "authz":
        revision = connection.execute(SQL["read_revision"]).fetchone()
        assert revision is not None  # an aggregate returns one row always
        return AuthzCheckpoint(
            revision=revision[0],
            written=read_producers(connection, "read_written"),
            acknowledged=read_producers(connection, "read_acknowledged"),
        )
    log = connection.execute(SQL["read_log"]).fetchone()
    assert log is not None  # as above
    tree = TreeHash()
    with connection.cursor("leaf_hashes") as cursor:
        cursor.itersize = _ROWS_A_FETCH
        for (leaf_hash,) in cursor.execute(SQL["stream_leaf_hashes"]):
            tree.add(leaf_hash)
    return AuditCheckpoint(
        size=log[0],
        last_recorded_at=log[1],
        tree_hash=tree.root().hex(),
        producers=read_producers(connection, "read_producers"),
    )


def read_producers(connection: Connection, query: str) -> list[Producer]:
    """Return how far each writer's events reach, by the named statement."""
    return [
        Producer(source=source, epoch=epoch, last_sequence=last)
        for source, epoch, last in connection.execute(SQL[query])
    ]
