"""Changes the permission graph through the one command path, beside the running service."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, Final

import psycopg

from services.authz.commands import Commands, Outcome
from services.authz.directory import Place, plain
from services.authz.journal import Author, Change
from services.authz.nouns import NOUNS
from shared.clock import Clock, utc_now
from shared.db import Session, create_pool
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
                f'select to_jsonb(t)::text from authz."{entity}" t where t.id = %s', [id_]
            ).fetchall()
        return plain(NOUNS[entity], row)

    async def change(self, *changes: tuple[str, dict[str, Any]]) -> int:
        """Write rows (kind, row with other values) in one transaction; returns the last revision."""
        made = [
            Change(after=row, before=self.stored(kind, row["id"]), entity_type=kind, kind=f"{kind}.changed")
            for kind, row in changes
        ]

        async def work(connection: Session, now: datetime) -> Outcome:
            _, revision = await self.commands.write(connection, AUTHOR, made, now)
            return Outcome(data={}, revision=revision)

        return (await self.commands.run(work)).revision

    async def revoke(self, user_member_id: str, reason: str) -> int:
        """End a binding of the worked example; returns the revision."""
        place = Place(NOUNS["user_member"], user_member_id, "space_acme")
        return (await self.commands.end(AUTHOR, place, reason=reason)).revision

    async def move(self, group_id: str, parent_id: str | None, **changes: Any) -> int:
        """Move a group with all below it under another parent, or under none, as one event; returns its revision."""
        place = Place(NOUNS["group"], group_id, self.stored("group", group_id)["space_id"])
        moved = await self.commands.move(AUTHOR, place, {"parent_group_id": parent_id} | changes, reason=None)
        return moved.revision


@contextlib.asynccontextmanager
async def writing(database: ServiceDatabase, clock: Clock = utc_now) -> AsyncIterator[Writer]:
    """A writer with connections of its own, which makes its changes at the times that the clock says."""
    async with create_pool(database.app_dsn, "test writer", max_size=2) as pool:
        yield Writer(Commands(pool, clock=clock, new_event_id=new_uuid7), database)
