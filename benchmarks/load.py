"""A bounded HTTP load on the loopback: wrk where it is installed, else a client of our own on asyncio."""

from __future__ import annotations

import asyncio
import itertools
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

_LUA: Final = """\
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer %s"
%s
request = function()
    return wrk.format(nil, nil, nil, next_body())
end
done = function(summary, latency)
    local e = summary.errors
    io.write(string.format("FIGURES %%d %%d %%d %%d %%d\\n", summary.requests, summary.duration,
        latency:percentile(50), latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))
end
"""
_IN_TURN: Final = """\
local bodies = {%s}
local turn = 0
next_body = function()
    turn = turn %% #bodies + 1
    return bodies[turn]
end
"""
# wrk sleeps for as long as it was told to run, unless it is interrupted. Until it is, the last body goes out again.
_EACH_ONCE: Final = """\
local ffi = require("ffi")
ffi.cdef("int getpid(void); int kill(int pid, int signal);")
local bodies, body, ended = io.lines("%s"), nil, false
next_body = function()
    local following = not ended and bodies()
    if following then
        body = following
    elseif not ended then
        ended = true
        ffi.C.kill(ffi.C.getpid(), 2)
    end
    return body
end
"""
_PATIENCE_SECONDS: Final = 3_600.0


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
        return _wrk(url, key, _IN_TURN % ", ".join(f"'{body}'" for body in bodies), connections, seconds)
    return asyncio.run(_asyncio(url, key, itertools.cycle(bodies), connections, seconds))


def ask_each(url: str, key: str, bodies: Iterable[str], *, connections: int) -> Measured:
    """POST each body once over so many connections; wrk, which stops a moment after the last, may repeat that one."""
    if not shutil.which("wrk"):
        return asyncio.run(_asyncio(url, key, iter(bodies), connections, _PATIENCE_SECONDS))
    with tempfile.NamedTemporaryFile("w", suffix=".bodies", dir="/var/tmp") as file:
        file.writelines(f"{body}\n" for body in bodies)
        file.flush()
        return _wrk(url, key, _EACH_ONCE % file.name, connections, _PATIENCE_SECONDS)


def ask_one_by_one(url: str, key: str, bodies: Iterable[str]) -> Measured:
    """POST each body once over one connection, with the client of our own: what is measured is latency."""
    return asyncio.run(_asyncio(url, key, iter(bodies), 1, _PATIENCE_SECONDS))


def _wrk(url: str, key: str, next_body: str, connections: int, seconds: float) -> Measured:
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(_LUA % (key, next_body))
        script.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:.0f}s", "--timeout", "10s", "-s", script.name, url]
        printed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds + 30).stdout
    found = re.search(r"FIGURES (\d+) (\d+) (\d+) (\d+) (\d+)", printed)
    if found is None:
        raise RuntimeError(f"wrk printed no figures:\n{printed}")
    requests, microseconds, p50, p99, errors = map(int, found.groups())
    return Measured(requests / microseconds * 1e6, p50 / 1000, p99 / 1000, requests, errors)


async def _asyncio(url: str, key: str, bodies: Iterator[str], connections: int, seconds: float) -> Measured:
    _, _, place = url.partition("://")
    authority, _, path = place.partition("/")
    host, _, port = authority.partition(":")
    head = f"POST /{path} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: application/json\r\nAuthorization: Bearer {key}\r\n"
    latencies: list[float] = []
    errors = 0
    started = time.perf_counter()

    async def ask() -> None:
        nonlocal errors
        reader, writer = await asyncio.open_connection(host, int(port))
        for body in bodies:  # the connections share them
            request = f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()
            before = time.perf_counter()
            writer.write(request)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", answer)
            await reader.readexactly(int(length[1]) if length else 0)
            latencies.append(time.perf_counter() - before)
            errors += not answer.startswith(b"HTTP/1.1 200")
            if time.perf_counter() - started >= seconds:
                break
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
