"""Events per second into the log: through the real service over HTTP, and through the sequencer alone.

Real processes on one machine: PostgreSQL (fsync on), the service under granian, and this one that sends. Events are real
traces of the worked example, whole and cut down to about 1.6 KB. Each figure is the median of five rounds; the spread and
a fixed piece of work timed beside each round show how steady the machine was. Run: `python -m benchmarks.ingest`.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import psycopg
import structlog
from prometheus_client import CollectorRegistry

from services.audit.log import WRITE_PARAMETERS, Log
from services.audit.metrics import LogMetrics
from services.audit.own_events import OwnEvents
from shared.clock import utc_now
from shared.credentials import NewKey, new_key
from shared.db import connect
from shared.embedded.server import EmbeddedPostgres
from shared.envelope import encode_event
from shared.identifiers import new_uuid7
from shared.migrations.bootstrap import create_database, create_roles
from shared.migrations.runner import migrate_up
from shared.recorded import Recorded, read_event
from shared.web.context import RequestContext

ROUNDS: Final = 5
EVENTS: Final = 40_000
SENDERS: Final = 4
BODY_BYTES: Final = 1_000_000
PASSWORD: Final = "for-the-benchmark-only"
PORT: Final = 18_081

SERVICE_ENVIRONMENT: Final = {"PLYSTRA_LOG_LEVEL": "warning", "PLYSTRA_AUDIT_PORT": str(PORT)}


def trace_of(chance: random.Random, event_id: str, now: datetime, *, whole: bool) -> dict[str, Any]:
    """A decision's trace as authz writes it; cut down, it lacks the registry and most checks."""
    member, space = f"member_{chance.randrange(20_000):06}", f"space_{chance.randrange(50):03}"
    user, resource = f"user_{chance.randrange(20_000):06}", f"invoice_{chance.randrange(200_000):06}"
    action, deny = chance.choice(["approve", "create", "delete", "read", "reject", "update"]), chance.random() < 0.2
    deny_code = chance.choice(["SCOPE_OUT_OF_BOUNDS", "NO_MATCHING_PERMISSION"]) if deny else None
    group = {"id": f"group_{member}", "path": "finance.apac", "space_id": space, "status": "active"}
    steps = "actor_exists actor_active action_registered target_exists same_space candidates_found scope_covered"
    candidate = {
        "anchor": group,
        "grant": {
            "expires_at": None,
            "id": f"grant_{member}",
            "member_id": member,
            "not_before": None,
            "space_id": space,
            "status": "active",
        },
        "permission": {
            "action": action,
            "condition": None,
            "id": f"permission_{action}",
            "resource_type": "invoice",
            "scope": "group_tree",
        },
        "role": {"id": f"role_{space}", "key": "finance_approver", "space_id": space, "status": "active"},
        "scope_check": {
            "covered": not deny,
            "deny_code": deny_code,
            "reason": "the target's group finance.apac lies within finance",
            "rule": "group_tree",
        },
    }
    return {
        "actor": {
            "member": {"display_name": "Finance Reviewer", "id": member, "space_id": space, "status": "active"},
            "space": {"id": space, "name": "Acme", "status": "active"},
            "user": {"email": f"{user}@example.com", "id": user, "status": "active"},
            "user_member": {
                "expires_at": None,
                "id": f"um_{member}",
                "member_id": member,
                "relation_type": "assigned",
                "space_id": space,
                "status": "active",
                "user_id": user,
            },
        },
        "candidates": [candidate] if whole else [],
        "checks": [{"result": "passed", "step": step} for step in steps.split()] if whole else [],
        "decided_at": now,
        "decision": "deny" if deny else "allow",
        "decision_id": event_id,
        "decisive": {"candidate": 0, "step": "scope_covered"},
        "deny_code": deny_code,
        "inline": [],
        "omitted_candidates": 0,
        "question": {
            "action": action,
            "actor": {"member_id": member, "space_id": space, "user_id": user, "user_member_id": f"um_{member}"},
            "resource_id": resource,
            "resource_type": "invoice",
        },
        "reason": f"Role finance_approver allows {action} on invoice: finance.apac lies within finance",
        "request": {
            "credential_id": "a" * 16,
            "inline": False,
            "ip": "127.0.0.1",
            "request_id": f"req_{new_uuid7().replace('-', '')}",
            "span_id": "00f067aa0ba902b7",
            "trace_id": event_id.replace("-", ""),
            "user_agent": "python-httpx/0.28",
        },
        "revision": 42,
        "target": {
            "group": group,
            "resource": {
                "external_id": None,
                "group_id": group["id"],
                "id": resource,
                "owner_member_id": member,
                "properties": {},
                "space_id": space,
                "status": "active",
                "type": "invoice",
            },
        },
        "trace_version": 1,
    }


def make_events(count: int, *, whole: bool, seed: int) -> list[bytes]:
    """Events of one producer, as canonical bytes."""
    chance, now, epoch = random.Random(seed), utc_now(), time.time_ns() // 1000
    encoder = msgspec.json.Encoder(order="sorted")
    events = []
    for sequence in range(count):
        event_id = new_uuid7()
        data = msgspec.Raw(encoder.encode(trace_of(chance, event_id, now, whole=whole)))
        events.append(
            encode_event(
                data=data,
                epoch=epoch,
                event_id=event_id,
                kind="decision.made",
                occurred_at=now,
                sequence=sequence,
                source="benchmark",
            )
        )
    return events


def in_batches(events: list[bytes]) -> list[list[bytes]]:
    """Cut a stream into batches of about a body's size."""
    per_batch = min(1_000, BODY_BYTES // (max(map(len, events)) + 1))
    return [events[i : i + per_batch] for i in range(0, len(events), per_batch)]


async def time_http(batches: list[list[bytes]], key: NewKey) -> float:
    """Send every batch, some at a time; returns seconds from the first to the last acknowledgement."""
    bodies = iter([b'{"events":[' + b",".join(batch) + b"]}" for batch in batches])
    headers = {"authorization": f"Bearer {key.text}", "content-type": "application/json"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{PORT}", headers=headers, timeout=30) as client:

        async def send() -> None:
            for body in bodies:
                (await client.post("/api/v1/events", content=body)).raise_for_status()

        started = time.perf_counter()
        await asyncio.gather(*(send() for _ in range(SENDERS)))
        return time.perf_counter() - started


async def time_log(batches: list[list[bytes]], dsn: str) -> float:
    """Append every batch to the sequencer in this process, events read beforehand; returns seconds."""
    recorded: Iterator[list[Recorded]] = iter([[read_event(leaf) for leaf in batch] for batch in batches])
    context = RequestContext(authorization=None, content_type=None, ip=None, request_id="benchmark", user_agent=None)
    log = Log(
        lambda: connect(dsn, "benchmark", WRITE_PARAMETERS),
        OwnEvents("benchmark", new_uuid7),
        clock=utc_now,
        monotonic=time.monotonic,
        logger=structlog.get_logger(),
        metrics=LogMetrics(CollectorRegistry()),
    )
    running = asyncio.create_task(log.run())
    assert await log.wait_settled(10) == "leader"

    async def send() -> None:
        for batch in recorded:
            await log.append(batch, context)

    started = time.perf_counter()
    await asyncio.gather(*(send() for _ in range(SENDERS)))
    seconds = time.perf_counter() - started
    log.close()
    await running
    return seconds


def time_reading(events: list[bytes]) -> float:
    """Seconds to check, hash and derive every event on one core."""
    started = time.perf_counter()
    for leaf in events:
        read_event(leaf)
    return time.perf_counter() - started


def time_yardstick() -> float:
    """Seconds of a fixed piece of work on one core: how fast the machine is just now."""
    started = time.perf_counter()
    sum(i * i & 7 for i in range(2_000_000))
    return time.perf_counter() - started


@contextmanager
def database() -> Iterator[tuple[str, NewKey]]:
    """A PostgreSQL with a migrated audit database; yields the app's DSN and a key that may write."""
    key = new_key()
    with tempfile.TemporaryDirectory(prefix="plystra-bench-", dir="/var/tmp") as home:
        Path(home).chmod(0o711)
        server = EmbeddedPostgres(Path(home) / "home")
        with server:
            with psycopg.connect(server.superuser_dsn, autocommit=True) as connection:
                create_roles(connection, "audit", migrator_password=PASSWORD, app_password=PASSWORD)
                create_database(connection, "audit", "plystra_audit")
            owner = server.dsn("audit_migrator", PASSWORD, "plystra_audit")
            migrate_up("audit", owner)
            with psycopg.connect(owner) as connection:
                connection.execute("set role audit_owner")
                connection.execute(
                    "insert into audit.credential (credential_id, name, secret_hash, permission_keys)"
                    " values (%s, 'benchmark', %s, '{audit:write,audit:read}')",
                    [key.credential_id, key.secret_hash],
                )
            yield server.dsn("audit_app", PASSWORD, "plystra_audit"), key
        server.remove()


@contextmanager
def service(dsn: str) -> Iterator[None]:
    """The service as a process of its own, ready."""
    environment = os.environ | SERVICE_ENVIRONMENT | {"PLYSTRA_AUDIT_APP_DSN": dsn}
    process = subprocess.Popen([sys.executable, "-m", "services.audit", "serve"], env=environment)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                if httpx.get(f"http://127.0.0.1:{PORT}/api/v1/ready").status_code == 200:
                    break
            except httpx.HTTPError:
                pass
            if time.monotonic() > deadline or process.poll() is not None:
                raise SystemExit("the service did not become ready")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(30)


def measure(name: str, count: int, run: Callable[[int], float]) -> None:
    """Print the median of some rounds, their spread, and how steady the machine was."""
    run(-1)  # warms caches and makes the first partition
    rates, yards = [], []
    for number in range(ROUNDS):
        yards.append(time_yardstick())
        rates.append(count / run(number))
    print(
        f"{name:34}{statistics.median(rates):10,.0f} events/s   {min(rates):,.0f}–{max(rates):,.0f}"
        f"   yardstick {min(yards) * 1000:.0f}–{max(yards) * 1000:.0f} ms",
        flush=True,
    )


def main() -> None:
    """Print the figures."""
    print(
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} cores, medians of {ROUNDS} rounds of {EVENTS:,} events"
    )
    for whole in (False, True):
        sample = make_events(5_000, whole=whole, seed=0)
        size = f"{statistics.mean(map(len, sample)) / 1000:.1f} KB"
        measure(f"check, hash, derive ({size})", len(sample), lambda _, sample=sample: time_reading(sample))  # type: ignore[misc]  # lambda default
    with database() as (dsn, key):
        for whole in (False, True):
            size = "2.8 KB" if whole else "1.6 KB"
            measure(
                f"sequencer alone ({size})",
                EVENTS,
                lambda n, whole=whole: asyncio.run(time_log(in_batches(make_events(EVENTS, whole=whole, seed=n)), dsn)),  # type: ignore[misc]  # lambda default
            )
        with service(dsn):
            for whole in (False, True):
                size = "2.8 KB" if whole else "1.6 KB"
                measure(
                    f"HTTP, {SENDERS} senders ({size})",
                    EVENTS,
                    lambda n, whole=whole: asyncio.run(  # type: ignore[misc]  # lambda default
                        time_http(in_batches(make_events(EVENTS, whole=whole, seed=n)), key)
                    ),
                )


if __name__ == "__main__":
    main()
