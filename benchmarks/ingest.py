"""Events per second into the log: through the real service over HTTP, and through the sequencer alone.

Real processes on one machine: PostgreSQL (fsync on), the service, and this one that sends. Events are changes (0.9 KB), and
decisions as of the worked example, whole (2.7 KB) and without candidates and checks (1.8 KB), sent as the relay sends them: up
to 1,000 at once, compressed. CPU time is told per event, since it suffers less than the rate when the machine is shared; a
fixed piece of work timed beside each round (yardstick) tells how fast the machine was just then.
"""

from __future__ import annotations

import asyncio
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import httpx
import psycopg
import structlog
from prometheus_client import CollectorRegistry

from benchmarks.figures import machine, spread
from benchmarks.traces import SHAPES, Shape, in_batches, make_events
from services.audit.log import WRITE_PARAMETERS, Log
from services.audit.metrics import LogMetrics
from services.audit.own_events import OwnEvents
from services.authz.delivery import HttpDelivery
from shared.clock import utc_now
from shared.compression import new_compressor
from shared.credentials import NewKey, new_key
from shared.db import connect
from shared.embedded.server import EmbeddedPostgres
from shared.identifiers import new_uuid7
from shared.migrations.bootstrap import create_database, create_roles
from shared.migrations.runner import migrate_up
from shared.process import children_of
from shared.recorded import Recorded, read_event
from shared.web.context import RequestContext

ROUNDS: Final = 5
EVENTS: Final = 40_000
SENDERS: Final = 4
PASSWORD: Final = "for-the-benchmark-only"
SEQUENCER: Final = "benchmark sequencer"


class Measured(NamedTuple):
    """One round: events per second, and microseconds of CPU per event in Python and in PostgreSQL's writing session."""

    rate: float
    python: float
    database: float
    yardstick: float


class Bench(NamedTuple):
    """A migrated database and who may write to it."""

    app_dsn: str
    superuser_dsn: str
    key: NewKey


async def send_over_http(batches: list[bytes], bench: Bench, port: int) -> None:
    """Send every batch, a frame each, to the service as the relay does, but some at a time."""
    frames = iter(batches)
    delivery = HttpDelivery(f"http://127.0.0.1:{port}", bench.key.text, timeout_seconds=60)

    async def send() -> None:
        for frame in frames:
            await delivery.deliver([frame], None)

    await asyncio.gather(*(send() for _ in range(SENDERS)))
    await delivery.close()


async def append_to_log(batches: list[list[Recorded]], log: Log) -> None:
    """Append every batch to the sequencer, some at a time."""
    context = RequestContext(authorization=None, content_type=None, ip=None, request_id="benchmark", user_agent=None)
    waiting = iter(batches)

    async def send() -> None:
        for batch in waiting:
            await log.append(batch, context)

    await asyncio.gather(*(send() for _ in range(SENDERS)))


def cpu_seconds(pids: list[int]) -> float:
    """CPU time of some processes, all threads."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def writing_session(bench: Bench) -> list[int]:
    """The PostgreSQL process that writes the log."""
    with psycopg.connect(bench.superuser_dsn) as connection:
        rows = connection.execute(
            "select pid from pg_stat_activity where application_name like '%sequencer'"
        ).fetchall()
    return [row[0] for row in rows]


def time_yardstick() -> float:
    """Milliseconds of a fixed piece of work on one core: how fast the machine is just now."""
    started = time.perf_counter()
    sum(i * i & 7 for i in range(2_000_000))
    return (time.perf_counter() - started) * 1000


def tell(name: str, rounds: list[Measured]) -> None:
    """Print the medians and ranges of some rounds."""
    cells = (
        f"{name:42}",
        spread([r.rate for r in rounds]),
        spread([r.python for r in rounds], 1),
        spread([r.database for r in rounds], 1),
        spread([r.yardstick for r in rounds]),
    )
    print(" | ".join(cells), flush=True)


def measure_reading(shape: Shape) -> None:
    """How fast one core checks, hashes and derives."""
    events = make_events(5_000, shape, seed=0)
    rounds = []
    for _ in range(ROUNDS):
        yardstick, cpu, started = time_yardstick(), time.process_time(), time.perf_counter()
        for leaf in events:
            read_event(leaf)
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        rounds.append(Measured(len(events) / seconds, cpu / len(events) * 1e6, 0, yardstick))
    tell(f"read: {shape}, {size_of(events)}", rounds)


async def measure_log(bench: Bench, shape: Shape) -> None:
    """How fast the sequencer appends, in this process and without HTTP; events are read beforehand."""
    log = Log(
        lambda: connect(bench.app_dsn, SEQUENCER, WRITE_PARAMETERS),
        OwnEvents("benchmark", new_uuid7),
        clock=utc_now,
        monotonic=time.monotonic,
        logger=structlog.get_logger(),
        metrics=LogMetrics(CollectorRegistry()),
    )
    running = asyncio.create_task(log.run())
    await log.wait_settled(10)
    pids, rounds = writing_session(bench), []
    for number in range(-1, ROUNDS):  # the first warms up and is not counted
        events = make_events(EVENTS, shape, seed=number)
        batches = [[read_event(leaf) for leaf in batch] for batch in in_batches(events)]
        yardstick, python, database, started = (
            time_yardstick(),
            time.process_time(),
            cpu_seconds(pids),
            time.perf_counter(),
        )
        await append_to_log(batches, log)
        seconds, python = time.perf_counter() - started, time.process_time() - python
        rounds.append(_measured(seconds, python, cpu_seconds(pids) - database, yardstick))
    log.close()
    await running
    tell(f"sequencer alone: {shape}, {size_of(events)}", rounds[1:])


def measure_service(bench: Bench, port: int, service: int, shape: Shape) -> None:
    """How fast the service appends over HTTP, with everything it does for a request."""
    pids, rounds, compress = writing_session(bench), [], new_compressor()
    for number in range(-1, ROUNDS):
        events = make_events(EVENTS, shape, seed=number)
        frames = [compress(b",".join(batch)) for batch in in_batches(events)]
        python_pids = [service, *children_of(service)]
        yardstick, python, database = time_yardstick(), cpu_seconds(python_pids), cpu_seconds(pids)
        started = time.perf_counter()
        asyncio.run(send_over_http(frames, bench, port))
        seconds, python = time.perf_counter() - started, cpu_seconds(python_pids) - python
        rounds.append(_measured(seconds, python, cpu_seconds(pids) - database, yardstick))
    tell(f"HTTP, {SENDERS} senders: {shape}, {size_of(events)}", rounds[1:])


def _measured(seconds: float, python: float, database: float, yardstick: float) -> Measured:
    return Measured(EVENTS / seconds, python / EVENTS * 1e6, database / EVENTS * 1e6, yardstick)


def size_of(events: list[bytes]) -> str:
    """The mean size of events."""
    return f"{statistics.mean(map(len, events)) / 1000:.1f} KB"


@contextmanager
def bench_database() -> Iterator[Bench]:
    """A PostgreSQL with a migrated audit database and a key that may write."""
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
                    " values (%s, 'benchmark', %s, '{audit:write}')",
                    [key.credential_id, key.secret_hash],
                )
            yield Bench(server.dsn("audit_app", PASSWORD, "plystra_audit"), server.superuser_dsn, key)
        server.remove()


@contextmanager
def running_service(bench: Bench) -> Iterator[tuple[int, int]]:
    """The service as a process of its own, ready; yields its port and process id."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PLYSTRA_")}
    environment |= {
        "PLYSTRA_AUDIT_APP_DSN": bench.app_dsn,
        "PLYSTRA_AUDIT_PORT": str(port),
        "PLYSTRA_LOG_LEVEL": "warning",
    }
    process = subprocess.Popen([sys.executable, "-m", "services.audit", "serve"], env=environment)
    try:
        _await_ready(process, f"http://127.0.0.1:{port}/api/v1/ready")
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(30)


def _await_ready(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.05)
    raise SystemExit("the service did not become ready")


def measure() -> None:
    """Print the figures."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    print(f"Ingest into audit · {machine()}")
    print(f"{ROUNDS} rounds of {EVENTS:,} events; median [range]\n")
    print("what | events/s | Python µs/event | PostgreSQL µs/event | yardstick ms")
    for shape in SHAPES:
        measure_reading(shape)
    # A log of its own for each, since the cost grows while a log's first gigabytes are filled.
    for shape in SHAPES:
        with bench_database() as bench:
            asyncio.run(measure_log(bench, shape))
    for shape in SHAPES:
        with bench_database() as bench, running_service(bench) as (port, pid):
            measure_service(bench, port, pid, shape)


if __name__ == "__main__":
    measure()
