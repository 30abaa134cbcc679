"""A bounded HTTP load on the loopback: wrk where it is installed, else a client of our own on asyncio."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

_LUA: Final = """\
local bodies = {%s}
local next_body = 0
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer %s"
request = function()
    next_body = next_body %% #bodies + 1
    return wrk.format(nil, nil, nil, bodies[next_body])
end
done = function(summary, latency)
    local e = summary.errors
    io.write(string.format("FIGURES %%d %%d %%d %%d %%d\\n", summary.requests, summary.duration,
        latency:percentile(50), latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))
end
"""


class Measured(NamedTuple):
    """One round: requests per second, latencies in milliseconds, and answers that weren't 200."""

    rate: float
    p50: float
    p99: float
    requests: int
    errors: int


def generator() -> str:
    """Name the load generator that will be used."""
    return "wrk" if shutil.which("wrk") else "the asyncio client of benchmarks/load.py"


def run(url: str, key: str, bodies: Sequence[str], *, connections: int, seconds: float) -> Measured:
    """POST the bodies in turn over so many connections for so many seconds."""
    if shutil.which("wrk"):
        return _wrk(url, key, bodies, connections, seconds)
    return asyncio.run(_asyncio(url, key, bodies, connections, seconds))


def _wrk(url: str, key: str, bodies: Sequence[str], connections: int, seconds: float) -> Measured:
    quoted = ", ".join("'" + body + "'" for body in bodies)
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(_LUA % (quoted, key))
        script.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:.0f}s", "--timeout", "10s", "-s", script.name, url]
        printed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds + 30).stdout
    found = re.search(r"FIGURES (\d+) (\d+) (\d+) (\d+) (\d+)", printed)
    if found is None:
        raise RuntimeError(f"wrk printed no figures:\n{printed}")
    requests, microseconds, p50, p99, errors = map(int, found.groups())
    return Measured(requests / microseconds * 1e6, p50 / 1000, p99 / 1000, requests, errors)


async def _asyncio(url: str, key: str, bodies: Sequence[str], connections: int, seconds: float) -> Measured:
    _, _, place = url.partition("://")
    authority, _, path = place.partition("/")
    host, _, port = authority.partition(":")
    head = f"POST /{path} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: application/json\r\nAuthorization: Bearer {key}\r\n"
    requests = [f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode() for body in bodies]
    latencies: list[float] = []
    errors = 0
    started = time.perf_counter()

    async def ask() -> None:
        nonlocal errors
        reader, writer = await asyncio.open_connection(host, int(port))
        turn = 0
        while time.perf_counter() - started < seconds:
            before = time.perf_counter()
            writer.write(requests[turn % len(requests)])
            turn += 1
            answer = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", answer)
            await reader.readexactly(int(length[1]) if length else 0)
            errors += not answer.startswith(b"HTTP/1.1 200")
            latencies.append(time.perf_counter() - before)
        writer.close()

    await asyncio.gather(*(ask() for _ in range(connections)))
    elapsed = time.perf_counter() - started
    latencies.sort()
    p50, p99 = latencies[len(latencies) // 2], latencies[int(len(latencies) * 0.99)]
    return Measured(len(latencies) / elapsed, p50 * 1000, p99 * 1000, len(latencies), errors)


def free_port() -> int:
    """Return a port on the loopback that nobody listens on at present."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def temporary_home() -> Path:
    """Return a new folder for a pair's data; on a disk, since commits are what is measured."""
    return Path(tempfile.mkdtemp(prefix="plystra-bench-", dir="/var/tmp"))
