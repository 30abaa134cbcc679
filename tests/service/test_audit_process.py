"""audit as real processes: a graceful end answers what is in flight, a sudden one loses nothing that was acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from services.audit.log import Log
from shared.canonical import canonical_json
from shared.embedded.server import EmbeddedPostgres
from shared.migrations.bootstrap import create_database, create_roles
from shared.migrations.runner import migrate_up
from shared.problems import Problem
from tests.audit_events import CONTEXT, decision, recorded
from tests.conftest import PASSWORD, ServiceDatabase
from tests.service.audit_service import AuditDatabase, bearer, eventually, leaves_of, running_log


class Process:
    """One `python -m services.audit serve`."""

    def __init__(self, database: ServiceDatabase, instance: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PLYSTRA_")},
            "PLYSTRA_AUDIT_APP_DSN": database.app_dsn,
            "PLYSTRA_AUDIT_PORT": str(self.port),
            "PLYSTRA_AUDIT_INSTANCE": instance,
            "PLYSTRA_LOG_LEVEL": "error",
        }
        command = [sys.executable, "-m", "services.audit", "serve"]
        self.process = subprocess.Popen(command, env=environment, start_new_session=True)
        self.client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", headers=bearer("relay"), timeout=30)

    async def role(self) -> str | None:
        """What the log's check of /ready says; None while the service is not ready."""
        try:
            response = await self.client.get("/api/v1/ready")
        except httpx.HTTPError:
            return None
        if response.status_code != 200:
            return None
        (check,) = [check for check in response.json()["data"]["checks"] if check["name"] == "log"]
        return str(check["figures"]["role"])

    async def become(self, role: str) -> None:
        """Wait until it has the role."""

        async def has() -> bool:
            return await self.role() == role

        await eventually(has, 60)

    def kill(self) -> None:
        """End it at once, as a crash of the machine would."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def answer_to(self, head: bytes) -> bytes:
        """All bytes that come back for a request without a body, which must ask to close the connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(head)
            return b"".join(iter(lambda: connection.recv(65_536), b""))

    async def post(self, events: list[dict[str, Any]]) -> int:
        """Send a batch; the status, 0 when the connection broke."""
        try:
            response = await self.client.post("/api/v1/events", content=canonical_json({"events": events}))
        except httpx.HTTPError:
            return 0
        return response.status_code


@pytest.fixture
def stored(audit_database: ServiceDatabase) -> AuditDatabase:
    """A log with keys."""
    found = AuditDatabase(audit_database)
    found.insert_keys()
    return found


async def test_sigterm_answers_what_is_in_flight_and_exits_clean(stored: AuditDatabase) -> None:
    service = Process(stored.database, "audit@one")
    try:
        await service.become("leader")
        batches = [[decision() for _ in range(200)] for _ in range(8)]
        sent = [asyncio.create_task(service.post(batch)) for batch in batches]
        await asyncio.wait(sent, return_when=asyncio.FIRST_COMPLETED)
        service.process.terminate()
        statuses = await asyncio.gather(*sent)
        assert await asyncio.to_thread(service.process.wait, 30) == 0
    finally:
        service.kill()
        await service.client.aclose()
    leaves = stored.leaves()
    assert set(statuses) == {200}
    assert len(leaves) == 1_600


async def test_what_the_server_itself_does_with_heads_of_requests(stored: AuditDatabase) -> None:
    service = Process(stored.database, "audit@one")
    try:
        await service.become("leader")
        close = b" HTTP/1.1\r\nhost: audit\r\nconnection: close\r\n"
        for path in (b"/api/v1/health", b"/api/v1/ready", b"/api/v1/version", b"/metrics", b"/nowhere"):
            head, _, body = service.answer_to(b"HEAD " + path + close + b"\r\n").partition(b"\r\n\r\n")
            whole, _, content = service.answer_to(b"GET " + path + close + b"\r\n").partition(b"\r\n\r\n")
            assert head.splitlines()[0] == whole.splitlines()[0]
            assert (body, bool(content)) == (b"", True), path
        # More bytes than the server keeps, and the end of the headers is not among them.
        refusal = service.answer_to((b"GET /api/v1/health" + close + b"x: ").ljust(256 * 1024, b"x"))
        assert refusal.startswith(b"HTTP/1.1 431 ")
        assert b'"code":"head_too_large"' in refusal
    finally:
        service.kill()
        await service.client.aclose()


async def test_a_second_process_takes_over_from_one_that_was_killed(stored: AuditDatabase) -> None:
    chance = random.Random(3)
    acknowledged: dict[str, bytes] = {}
    services = [Process(stored.database, f"audit@{name}") for name in ("one", "two")]

    async def produce() -> None:
        while len(acknowledged) < 3_000:
            batch = [decision() for _ in range(chance.randint(1, 30))]
            await eventually(lambda batch=batch: acknowledges(chance.choice(services), batch))
            acknowledged.update({event["event_id"]: canonical_json(event) for event in batch})

    try:
        for _ in range(2):
            roles = await eventually(lambda: known_roles(services), 60)
            producers = [asyncio.create_task(produce()) for _ in range(3)]
            target = len(acknowledged) + 500
            await eventually(lambda target=target: reached(acknowledged, target))
            services[roles.index("leader")].kill()
            (survivor,) = [service for service in services if service.process.poll() is None]
            await survivor.become("leader")
            await eventually(lambda target=target: reached(acknowledged, target + 500), 60)
            for producer in producers:
                producer.cancel()
            await asyncio.gather(*producers, return_exceptions=True)
            services[services.index(survivor) - 1] = Process(stored.database, "audit@again")
    finally:
        for service in services:
            service.kill()
            await service.client.aclose()
    leaves = stored.leaves()
    assert {event_id: leaves[event_id] for event_id in acknowledged} == acknowledged


async def known_roles(services: list[Process]) -> list[str | None]:
    """The roles, once one leads and the other stands by."""
    roles = [await service.role() for service in services]
    return roles if sorted(map(str, roles)) == ["leader", "standby"] else []


async def acknowledges(service: Process, batch: list[dict[str, Any]]) -> bool:
    """Whether a process says that it has the batch."""
    return await service.post(batch) == 200


async def reached(acknowledged: dict[str, bytes], target: int) -> bool:
    """Whether so many events are acknowledged."""
    return len(acknowledged) >= target


@pytest.fixture
def durable_server() -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL of this test's own that keeps what it commits when it is killed."""
    home = Path(tempfile.mkdtemp(prefix="plystra-tests-", dir="/var/tmp"))
    home.chmod(0o711 if os.geteuid() == 0 else 0o700)
    server = EmbeddedPostgres(home)
    try:
        server.start()
        yield server
    finally:
        server.remove()
        shutil.rmtree(home)


async def test_postgresql_killed_under_load_loses_and_doubles_nothing(durable_server: EmbeddedPostgres) -> None:
    chance = random.Random(5)
    with psycopg.connect(durable_server.superuser_dsn, autocommit=True) as connection:
        create_roles(connection, "audit", migrator_password=PASSWORD, app_password=PASSWORD)
        create_database(connection, "audit", "audit")
    database = ServiceDatabase("audit", "audit", durable_server)
    migrate_up("audit", database.owner_dsn)
    acknowledged: dict[str, bytes] = {}

    async def produce(log: Log) -> None:
        while True:
            events = recorded(chance.randint(1, 60))
            while True:
                try:
                    await log.append(events, CONTEXT)
                except Problem as problem:
                    if problem.status != 503:
                        raise
                    await asyncio.sleep(0.01)
                else:
                    acknowledged.update(leaves_of(events))
                    break

    async with running_log(database) as log:
        producers = [asyncio.create_task(produce(log)) for _ in range(4)]
        for _ in range(3):
            target = len(acknowledged) + 2_000
            await eventually(lambda target=target: reached(acknowledged, target), 60)
            await asyncio.to_thread(durable_server.kill)
            await asyncio.to_thread(durable_server.start)
        target = len(acknowledged) + 500
        await eventually(lambda: reached(acknowledged, target), 60)
        for producer in producers:
            producer.cancel()
        await asyncio.gather(*producers, return_exceptions=True)
    leaves = AuditDatabase(database).leaves()
    assert {event_id: leaves[event_id] for event_id in acknowledged} == acknowledged
