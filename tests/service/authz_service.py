"""The real authz in this process: its application over ASGI on a real database, with API keys to ask with."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

import httpx
import msgspec
import psycopg

from services.authz.app import create_app
from services.authz.delivery import split_events
from services.authz.model import Trace
from shared.credentials import NewKey, new_key
from shared.settings import AuthzSettings
from shared.web.edge import Edge
from tests.conftest import ServiceDatabase

CHECK: Final = "/api/v1/authz/check"
EXPLAIN: Final = "/api/v1/authz/explain"
INSTANCE: Final = "authz@test"
CLIENT_IP: Final = "203.0.113.7"
DEADLINE_SECONDS: Final = 15.0

PERMISSIONS: Final[dict[str, tuple[str, ...]]] = {
    "caller": ("authz:check", "authz:explain"),
    "trusted": ("authz:check", "authz:check_inline", "authz:explain"),
    "checker": ("authz:check",),
    "explainer": ("authz:explain",),
    "watcher": ("metrics:read",),
    "idle": (),
    "steward": ("authz:write",),
    "admin": ("authz:check", "authz:explain", "authz:read", "authz:write"),
}
KEYS: Final[dict[str, NewKey]] = {name: new_key() for name in PERMISSIONS}


def actor(binding: str = "um_alice_finance_reviewer", /, **changes: Any) -> dict[str, Any]:
    """The ids of Alice's reviewer, or of another binding of it; a change to None leaves the field out."""
    user_id = "user_bob" if "_bob_" in binding else "user_alice"
    ids = {
        "user_id": user_id,
        "member_id": "member_finance_reviewer",
        "user_member_id": binding,
        "space_id": "space_acme",
    }
    return {name: value for name, value in (ids | changes).items() if value is not None}


def question(**changes: Any) -> dict[str, Any]:
    """The first question of the worked example, which is allowed; a change to None leaves the field out."""
    plain = {"actor": actor(), "action": "approve", "resource_type": "invoice", "resource_id": "invoice_001"}
    return {name: value for name, value in (plain | changes).items() if value is not None}


def bearer(key: NewKey | str) -> dict[str, str]:
    """The header that carries a key, given as such or by its name in `KEYS`."""
    return {"authorization": f"Bearer {(KEYS[key] if isinstance(key, str) else key).text}"}


@dataclasses.dataclass(frozen=True)
class OutboxRow:
    """One commit as it lies in the outbox."""

    writer_id: int
    first_sequence: int
    last_sequence: int
    traceparents: list[str] | None
    events: list[bytes]


@dataclasses.dataclass(frozen=True)
class AuthzDatabase:
    """What a test looks at behind the service's back, each time over a connection of its own."""

    database: ServiceDatabase

    def sql(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Run one statement as the owner of all objects."""
        with psycopg.connect(self.database.owner_dsn, autocommit=True) as connection:
            connection.execute("set role authz_owner")
            cursor = connection.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def as_superuser(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Run one statement as the superuser."""
        with psycopg.connect(self.database.superuser_dsn, autocommit=True) as connection:
            cursor = connection.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def insert_keys(self) -> None:
        """Store all of `KEYS`."""
        for name, key in KEYS.items():
            self.insert_key(name, key, PERMISSIONS[name])

    def insert_key(
        self,
        name: str,
        key: NewKey,
        permissions: Sequence[str],
        *,
        expires_at: datetime | None = None,
        revoked_at: datetime | None = None,
    ) -> None:
        """Store one key."""
        self.sql(
            "insert into authz.credential (credential_id, name, secret_hash, permission_keys, status, expires_at,"
            " revoked_at) values (%s, %s, %s, %s, %s, %s, %s)",
            key.credential_id,
            name,
            key.secret_hash,
            list(permissions),
            "active" if revoked_at is None else "revoked",
            expires_at,
            revoked_at,
        )

    def outbox(self, stream: str = "decisions", holding: str = "") -> list[OutboxRow]:
        """All commits of a stream, in order; only those that hold a text, if one is given."""
        rows = self.sql(
            "select o.writer_id, o.first_sequence, o.last_sequence, o.traceparents, o.events from authz.outbox o"
            " join authz.outbox_writer w using (writer_id)"
            " where w.stream = %s order by 1, 2",
            stream,
        )
        commits = [OutboxRow(*row[:4], events=split_events(row[4])) for row in rows]
        return [row for row in commits if any(holding.encode() in event for event in row.events)]

    def events(self, stream: str = "decisions") -> list[dict[str, Any]]:
        """All events of a stream, decoded."""
        return [msgspec.json.decode(event) for row in self.outbox(stream) for event in row.events]

    def event(self, event_id: str) -> dict[str, Any]:
        """The one decision event of that id; it must be there exactly once."""
        event: dict[str, Any] = msgspec.json.decode(self.leaf(event_id))
        return event

    def leaf(self, event_id: str) -> bytes:
        """The exact bytes of that event."""
        mark = f'"event_id":"{event_id}"'
        (leaf,) = [event for row in self.outbox(holding=mark) for event in row.events if mark.encode() in event]
        return leaf

    def trace(self, event_id: str) -> Trace:
        """The trace in the one decision event of that id."""
        return msgspec.convert(self.event(event_id)["data"], Trace)

    def count_recorded(self) -> int:
        """How many decision events lie in the outbox."""
        ((count,),) = self.sql(
            "select coalesce(sum(o.last_sequence - o.first_sequence + 1), 0) from authz.outbox o"
            " join authz.outbox_writer w using (writer_id) where w.stream = 'decisions'"
        )
        return int(count)

    def sessions(self, part: str) -> set[int]:
        """The process ids of the service's sessions that are named for a part: facts, tail or outbox."""
        return {
            pid
            for (pid,) in self.as_superuser(
                "select pid from pg_stat_activity where datname = %s and application_name = %s",
                self.database.name,
                f"plystra-authz {INSTANCE} {part}",
            )
        }

    def cut(self, part: str) -> int:
        """Terminate those sessions and return how many there were."""
        pids = self.sessions(part)
        self.as_superuser("select pg_terminate_backend(pid) from unnest(%s::int[]) pid", list(pids))
        return len(pids)

    def log_statements(self) -> Callable[[], list[tuple[str, str]]]:
        """Let the server log every statement of sessions that begin from now on.

        Call the result for what the service's sessions have run since then, or since the last call: (part, statement).
        """
        self.as_superuser(f"alter database {self.database.name} set log_statement = 'all'")
        log = self.database.server.log
        read_until = log.stat().st_size

        def read() -> list[tuple[str, str]]:
            nonlocal read_until
            with log.open("rb") as file:
                file.seek(read_until)
                text = file.read().decode()
                read_until = file.tell()
            # A statement goes on over lines that begin with a tab.
            entries = re.sub(r"\n\t", " ", text).splitlines()
            entry = re.compile(
                rf"plystra-authz {INSTANCE} (\w+) \w+@{self.database.name} LOG:  (?:execute \S+|statement): (.*)"
            )
            return [(found[1], found[2]) for found in map(entry.search, entries) if found]

        return read

    @contextlib.contextmanager
    def unreachable(self) -> Iterator[None]:
        """Let nobody connect and cut off who is, for as long as the block lasts."""
        name = self.database.name
        with psycopg.connect(self.database.server.superuser_dsn, autocommit=True) as connection:
            connection.execute(f"alter database {name} allow_connections false")
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s and pid <> pg_backend_pid()",
                [name],
            )
            try:
                yield
            finally:
                connection.execute(f"alter database {name} allow_connections true")


@dataclasses.dataclass(frozen=True)
class RunningAuthz(AuthzDatabase):
    """The service between the beginning and the end of its ASGI lifespan."""

    edge: Edge
    client: httpx.AsyncClient
    stop: Callable[[], None]

    async def check(self, body: Any = None, *, key: NewKey | str = "caller", **headers: str) -> httpx.Response:
        """POST a question (bytes as they are, else as JSON) to check."""
        return await self.post(CHECK, body, key=key, **headers)

    async def explain(self, body: Any = None, *, key: NewKey | str = "caller", **headers: str) -> httpx.Response:
        """POST a question to explain."""
        return await self.post(EXPLAIN, body, key=key, **headers)

    async def post(
        self, path: str, body: Any = None, *, key: NewKey | str = "caller", **headers: str
    ) -> httpx.Response:
        """POST a body; header names are given with underscores."""
        content = body if isinstance(body, bytes) else msgspec.json.encode(question() if body is None else body)
        sent = {"content-type": "application/json"} | bearer(key)
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post(path, content=content, headers=sent)

    async def decide(self, body: Any = None, *, key: NewKey | str = "trusted") -> dict[str, Any]:
        """Ask check; the answer's data, which must be a decision."""
        response = await self.check(body, key=key)
        assert response.status_code == 200, response.text
        data: dict[str, Any] = response.json()["data"]
        return data

    async def become_ready(self) -> None:
        """Wait until every check of /ready passes."""
        await eventually(self._is_ready)

    async def _is_ready(self) -> bool:
        return (await self.client.get("/api/v1/ready")).status_code == 200


@contextlib.contextmanager
def standing_still(authz: RunningAuthz) -> Iterator[None]:
    """Let the session of the tail answer nothing, as when the network between has gone silent."""
    (pid,) = authz.sessions("tail")
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def eventually(probe: Callable[[], Awaitable[Any]], seconds: float = DEADLINE_SECONDS) -> Any:
    """Ask again and again until the answer is true, and return it; fails at the deadline."""
    deadline = time.monotonic() + seconds
    while not (answer := await probe()):
        assert time.monotonic() < deadline, f"{probe} did not come true within {seconds} s"
        await asyncio.sleep(0.005)
    return answer


@contextlib.asynccontextmanager
async def running_authz(database: ServiceDatabase, **settings: Any) -> AsyncIterator[RunningAuthz]:
    """Run the whole service on a database."""
    given = {"instance": INSTANCE, "log_level": "error"} | settings
    edge = create_app(AuthzSettings(app_dsn=database.app_dsn, **given))
    started, stopping = asyncio.Event(), asyncio.Event()

    async def live() -> None:
        async with edge.app.lifespan():
            started.set()
            await stopping.wait()

    # A lifespan must end in the task that it began in; a fixture's two halves are two tasks.
    life = asyncio.create_task(live())
    await asyncio.wait({life, asyncio.create_task(started.wait())}, return_when=asyncio.FIRST_COMPLETED)
    transport = httpx.ASGITransport(app=edge, client=(CLIENT_IP, 40_000))
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://authz") as client:
            yield RunningAuthz(database, edge, client, stopping.set)
    finally:
        stopping.set()
        await life
