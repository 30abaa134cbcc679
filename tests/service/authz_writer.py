"""Changes the permission graph through the one command path, beside the running service."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

import psycopg

from services.authz.commands import Author, Change, Commands
from services.authz.store import SQL
from shared.clock import utc_now
from shared.db import create_pool
from shared.identifiers import new_uuid7
from tests.conftest import ServiceDatabase

AUTHOR: Final = Author(credential_id=None, request_id="test")


class Writer:
    """Changes rows through the one command path; two rows in one transaction are one change of the world."""

    def __init__(self, commands: Commands, database: ServiceDatabase) -> None:
        self.commands = commands
        self.database = database

    def stored(self, entity: str, id_: str) -> dict[str, Any]:
        with psycopg.connect(self.database.app_dsn) as connection:
            ((row,),) = connection.execute(
                f'select to_jsonb(t) from authz."{entity}" t where t.id = %s', [id_]
            ).fetchall()
        return dict(row)

    async def change(self, *changes: tuple[str, dict[str, Any]]) -> int:
        """Write rows (kind, row with other values) in one transaction; returns the last revision."""
        made = [
            Change(after=row, before=self.stored(kind, row["id"]), entity_type=kind, kind=f"{kind}.changed")
            for kind, row in changes
        ]
        async with self.commands._pool.acquire() as connection, connection.transaction():
            return await self.commands._commit(connection, AUTHOR, made)

    async def move(self, group_id: str, parent_id: str | None, **changes: Any) -> int:
        """Move a group with all below it under another parent, or under none, as one event; returns its revision."""
        before, now = self.stored("group", group_id), utc_now()
        after = before | {"parent_group_id": parent_id} | changes
        prefix = "" if parent_id is None else self.stored("group", parent_id)["path"] + "."
        after["path"] = prefix + after["key"]
        commands = Commands(self.commands._pool, clock=lambda: now, new_event_id=new_uuid7)
        async with commands._pool.acquire() as connection, connection.transaction():
            await connection.fetch(SQL["lock_events"])
            await connection.execute(
                "update authz.group set path = $3 || substr(path, length($2) + 1), revision = $4, updated_at = $5"
                " where space_id = $1 and starts_with(path, $2 || '.')",
                before["space_id"],
                before["path"],
                after["path"],
                await connection.fetchval(SQL["read_revision"]) + 1,
                now,
            )
            moved = Change(after=after, before=before, entity_type="group", kind="group.moved")
            return await commands._commit(connection, AUTHOR, [moved])


@contextlib.asynccontextmanager
async def writing(database: ServiceDatabase) -> AsyncIterator[Writer]:
    """A writer with connections of its own."""
    async with create_pool(database.app_dsn, "test writer", max_size=2) as pool:
        yield Writer(Commands(pool, clock=utc_now, new_event_id=new_uuid7), database)
