"""Changes the permission graph through the one command path, beside the running service."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

import psycopg

from services.authz.commands import Author, Change, Commands
from shared.clock import Clock, utc_now
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

    async def move_group(self, id_: str, parent_id: str | None) -> int:
        """Put a group and all below it elsewhere: one event, and every path below follows; returns the revision."""
        row = self.stored("group", id_)
        above = "" if parent_id is None else self.stored("group", parent_id)["path"] + "."
        moved = row | {"parent_group_id": parent_id, "path": above + row["key"]}
        change = Change(after=moved, before=row, entity_type="group", kind="group.moved")
        async with self.commands._pool.acquire() as connection, connection.transaction():
            await connection.execute(
                "update authz.group set path = $2 || substr(path, length($1) + 1) where starts_with(path, $1 || '.')",
                row["path"],
                moved["path"],
            )
            return await self.commands._commit(connection, AUTHOR, [change])


@contextlib.asynccontextmanager
async def writing(database: ServiceDatabase, clock: Clock = utc_now) -> AsyncIterator[Writer]:
    """A writer with connections of its own, which makes its changes at the times that the clock says."""
    async with create_pool(database.app_dsn, "test writer", max_size=2) as pool:
        yield Writer(Commands(pool, clock=clock, new_event_id=new_uuid7), database)
