"""authz and audit side by side: decisions are asked, delivered and replayed, and either database is lied in."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final

import psycopg

from shared.canonical import canonical_json
from shared.ctl.replay import Chosen, Replayed, replay
from tests.conftest import CloneDatabase, ServiceDatabase
from tests.service.audit_service import RunningAudit, document, running_audit
from tests.service.authz_service import RunningAuthz, running_authz
from tests.service.authz_writer import Writer, writing

BATCH: Final = 500


@dataclasses.dataclass(frozen=True)
class Recording:
    """A running authz whose events are put into a running audit, and a writer of changes."""

    authz: RunningAuthz
    audit: RunningAudit
    writer: Writer

    async def deliver(self) -> None:
        """Put all of authz's events into audit, as the relay would; what is there already stays as it is."""
        events = [e for stream in ("changes", "decisions") for row in self.authz.outbox(stream) for e in row.events]
        for start in range(0, len(events), BATCH):
            response = await self.audit.post(b'{"events":[%b]}' % b",".join(events[start : start + BATCH]))
            assert response.status_code == 200, response.text

    async def decide(self, body: dict[str, Any] | None = None) -> str:
        """Ask, and return the decision's id."""
        return str((await self.authz.decide(body))["decision_id"])

    async def caught_up(self) -> None:
        """Wait until authz decides on what was written last."""
        ((revision,),) = self.authz.sql("select max(revision) from authz.event")
        await self.authz.decide({**QUESTION, "at_least_revision": revision})

    async def move_group(self, group_id: str, parent_id: str | None) -> None:
        """Move a subtree: one event for the group that is moved, the paths of all below it follow."""
        await self.writer.move(group_id, parent_id)

    def replay(self, **chosen: Any) -> Replayed:
        """Replay as the command does, with the rights of one who may only look."""
        return replay(self.audit.database.reader_dsn, self.authz.database.reader_dsn, Chosen(**chosen))

    def found(self, **chosen: Any) -> dict[str, str]:
        """What a replay finds: what was seen of the first fault, by its code."""
        return {one.code: one.seen for one in self.replay(**chosen).disagreements}

    def leaf(self, event_id: str) -> bytes:
        """The bytes of an event in audit, whatever was done to them."""
        ((leaf,),) = self.audit.sql("select leaf from audit.entry where event_id = %s", event_id)
        return bytes(leaf)

    def rewrite(self, event_id: str, edit: Callable[[dict[str, Any]], object]) -> None:
        """Change an event in audit past every law, as a superuser can."""
        event = document(self.leaf(event_id))
        edit(event["data"])
        self.overwrite(event_id, canonical_json(event))

    def overwrite(self, event_id: str, leaf: bytes) -> None:
        """Put other bytes in the place of an event's."""
        with lying(self.audit.database, "audit.entry_000000") as liar:
            liar.execute("update audit.entry_000000 set leaf = %s where event_id = %s", [leaf, event_id])

    def rewrite_history(self, statement: str) -> None:
        """Change authz's history past every law."""
        with lying(self.authz.database, "authz.event") as liar:
            assert liar.execute(statement.encode()).rowcount > 0


QUESTION: Final[dict[str, Any]] = {
    "actor": {"user_id": "nobody", "member_id": "nobody", "user_member_id": "nobody", "space_id": "nobody"},
    "action": "approve",
    "resource_type": "invoice",
    "resource_id": "nothing",
}


@contextlib.contextmanager
def lying(database: ServiceDatabase, table: str) -> Iterator[psycopg.Connection[Any]]:
    """A superuser whom no trigger of a table holds back."""
    with psycopg.connect(database.superuser_dsn, autocommit=True) as connection:
        connection.execute(f"alter table {table} disable trigger user".encode())
        yield connection


@contextlib.asynccontextmanager
async def recording(authz_database: ServiceDatabase, clone_database: CloneDatabase) -> AsyncIterator[Recording]:
    """Run both services; audit on a database of its own."""
    with clone_database("audit") as audit_database:
        async with (
            running_authz(authz_database) as authz,
            running_audit(audit_database) as audit,
            writing(authz_database) as writer,
        ):
            audit.insert_keys()
            await authz.become_ready()
            yield Recording(authz, audit, writer)
