"""The real audit in this process, on a real database: its sequencer alone, or the whole application over ASGI."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final

import httpx
import msgspec
import psycopg
import structlog
from prometheus_client import CollectorRegistry

from services.audit.app import create_app
from services.audit.log import WRITE_PARAMETERS, Log
from services.audit.metrics import LogMetrics
from services.audit.own_events import OwnEvents
from shared.canonical import canonical_json
from shared.clock import Clock, utc_now
from shared.credentials import NewKey, new_key
from shared.db import connect
from shared.identifiers import new_uuid7
from shared.recorded import Recorded
from shared.settings import AuditSettings
from tests.conftest import ServiceDatabase

EVENTS: Final = "/api/v1/events"
INSTANCE: Final = "audit@test"
DEADLINE_SECONDS: Final = 20.0
SEQUENCER: Final = f"plystra-audit {INSTANCE} sequencer"

PERMISSIONS: Final[dict[str, tuple[str, ...]]] = {
    "relay": ("audit:write",),
    "auditor": ("audit:read",),
    "watcher": ("metrics:read",),
    "idle": (),
}
KEYS: Final[dict[str, NewKey]] = {name: new_key() for name in PERMISSIONS}


@dataclasses.dataclass(frozen=True)
class AuditDatabase:
    """What a test looks at behind the service's back, each time over a connection of its own."""

    database: ServiceDatabase

    def sql(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Run one statement as the superuser."""
        with psycopg.connect(self.database.superuser_dsn, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []

    def insert_keys(self) -> None:
        """Store all of `KEYS`."""
        for name, key in KEYS.items():
            self.sql(
                "insert into audit.credential (credential_id, name, secret_hash, permission_keys) values (%s, %s, %s, %s)",
                key.credential_id,
                name,
                key.secret_hash,
                list(PERMISSIONS[name]),
            )

    def leaves(self) -> dict[str, bytes]:
        """Every event's bytes by its id, in the order of the log; its laws are checked on the way."""
        rows = self.sql(
            "select e.log_index, e.event_id::text, e.leaf, e.leaf_hash, e.recorded_at, n.log_index from audit.entry e"
            " full join audit.entry_by_event n using (event_id) order by e.log_index"
        )
        assert [row[0] for row in rows] == list(range(len(rows))), "the index has a gap"
        assert all(row[0] == row[5] for row in rows), "an event id leads elsewhere"
        assert all(bytes(row[3]) == hashlib.sha256(b"\x00" + bytes(row[2])).digest() for row in rows)
        assert [row[4] for row in rows] == sorted(row[4] for row in rows), "time runs backwards"
        return {row[1]: bytes(row[2]) for row in rows}

    def cut_sequencer(self) -> int:
        """Terminate the sessions that write the log or wait to; returns how many."""
        return len(
            self.sql(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s and application_name = %s",
                self.database.name,
                SEQUENCER,
            )
        )


@contextlib.asynccontextmanager
async def running_log(
    database: ServiceDatabase, *, clock: Clock = utc_now, settle_seconds: float = DEADLINE_SECONDS
) -> AsyncIterator[Log]:
    """Run a sequencer on a database, once it has its role; at the end it writes what waits."""
    log = Log(
        lambda: connect(database.app_dsn, SEQUENCER, WRITE_PARAMETERS),
        OwnEvents(INSTANCE, new_uuid7),
        clock=clock,
        monotonic=time.monotonic,
        logger=structlog.get_logger().bind(),
        metrics=LogMetrics(CollectorRegistry()),
    )
    running = asyncio.create_task(log.run())
    try:
        await log.wait_settled(settle_seconds)
        yield log
    finally:
        log.close()
        await asyncio.wait_for(running, DEADLINE_SECONDS)


@dataclasses.dataclass(frozen=True)
class RunningAudit(AuditDatabase):
    """The service between the beginning and the end of its ASGI lifespan."""

    client: httpx.AsyncClient

    async def post(self, body: Any, *, key: str | None = "relay", **headers: str) -> httpx.Response:
        """POST a body (bytes as they are, else as canonical JSON) to ingest; header names are given with underscores."""
        content = body if isinstance(body, bytes) else canonical_json(body)
        sent = {"content-type": "application/json"} | bearer(key)
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post(EVENTS, content=content, headers=sent)

    async def ingest(self, *events: dict[str, Any]) -> list[dict[str, Any]]:
        """Append events; the receipts."""
        response = await self.post({"events": events})
        assert response.status_code == 200, response.text
        entries: list[dict[str, Any]] = response.json()["data"]["entries"]
        return entries

    async def get(self, path: str, *, key: str | None = "auditor", **parameters: Any) -> httpx.Response:
        """GET a path below /api/v1/audit; a parameter `from_` is sent as `from`."""
        given = {name.rstrip("_"): value for name, value in parameters.items()}
        return await self.client.get(f"/api/v1/audit{path}", params=given, headers=bearer(key))

    async def search(self, path: str, **parameters: Any) -> list[dict[str, Any]]:
        """All rows of a search, page after page."""
        rows: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while True:
            response = await self.get(path, **parameters, **cursor)
            assert response.status_code == 200, response.text
            answer = response.json()
            rows += answer["data"]
            if answer["page"]["next_cursor"] is None:
                return rows
            cursor = {"cursor": answer["page"]["next_cursor"]}


def bearer(key: str | None) -> dict[str, str]:
    """The header that carries one of `KEYS`."""
    return {} if key is None else {"authorization": f"Bearer {KEYS[key].text}"}


async def eventually(probe: Callable[[], Awaitable[Any]], seconds: float = DEADLINE_SECONDS) -> Any:
    """Ask again and again until the answer is true, and return it; fails at the deadline."""
    deadline = time.monotonic() + seconds
    while not (answer := await probe()):
        assert time.monotonic() < deadline, f"{probe} did not come true within {seconds} s"
        await asyncio.sleep(0.005)
    return answer


@contextlib.asynccontextmanager
async def running_audit(database: ServiceDatabase, **settings: Any) -> AsyncIterator[RunningAudit]:
    """Run the whole service on a database."""
    given = {"instance": INSTANCE, "log_level": "error"} | settings
    edge = create_app(AuditSettings(app_dsn=database.app_dsn, **given))
    started, stopping = asyncio.Event(), asyncio.Event()

    async def live() -> None:
        async with edge.app.lifespan():
            started.set()
            await stopping.wait()

    # A lifespan must end in the task that it began in; a fixture's two halves are two tasks.
    life = asyncio.create_task(live())
    await asyncio.wait({life, asyncio.create_task(started.wait())}, return_when=asyncio.FIRST_COMPLETED)
    transport = httpx.ASGITransport(app=edge, client=("192.0.2.7", 40_000))
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://audit") as client:
            yield RunningAudit(database, client)
    finally:
        stopping.set()
        await life


def leaves_of(events: Sequence[Recorded]) -> dict[str, bytes]:
    """The bytes of events by their ids, in order."""
    return {event.event_id: event.leaf for event in events}


def document(leaf: bytes) -> dict[str, Any]:
    """An event's bytes as plain values."""
    value: dict[str, Any] = msgspec.json.decode(leaf)
    return value
