"""Runs a service under uvicorn: one process and one thread, graceful on SIGTERM.

One thread, because a check is short: a server that reads and writes on a thread of its own spent a third of a check's
processor time on handing requests over and waking up. A process is the unit of scale (a group commit, a cache and a
tail each), so more of them are more replicas behind a load balancer, not more workers here.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final, NoReturn

import uvicorn
import uvloop

from shared.settings import ServiceSettings
from shared.web.connection import BoundedConnection
from shared.web.edge import ASGIApp
from shared.web.system import Build

# Longer than clients keep a connection that nobody uses, so that they close it and none of them writes into a closed one.
KEEP_ALIVE_SECONDS: Final = 75
_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class _Server(uvicorn.Server):
    """uvicorn's, for a process whose exit code tells how it ended: a stop that was asked for is none by a signal."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Begin the orderly stop at the first signal, and hurry at a second SIGINT."""
        loop = asyncio.get_running_loop()
        for number in _STOP_SIGNALS:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


def serve(make: Callable[[], ASGIApp], *, host: str, port: int, drain_seconds: int) -> None:
    """Make the application and serve it until SIGTERM or SIGINT; returns when everything in flight is answered."""
    # A stop before there is anything to drain: the callers' `finally` blocks still run.
    for number in _STOP_SIGNALS:
        signal.signal(number, _end)
    uvloop.run(_serve(make, host, port, drain_seconds))
    # What is left to do is bounded, and no less important than what was in flight.
    for number in _STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


async def _serve(make: Callable[[], ASGIApp], host: str, port: int, drain_seconds: int) -> None:
    app = make()  # here, since pools belong to the loop that they are made in
    # What the program itself is made of stays for good: the cycle collector need not look at it again.
    gc.collect()
    gc.freeze()
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=BoundedConnection,
        ws="none",
        interface="asgi3",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=2048,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=drain_seconds,
    )
    await _Server(config).serve()


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(0)


def build_info(settings: ServiceSettings) -> Build:
    """Say what the running image was built from."""
    return Build(commit=settings.build_commit, time=settings.build_time)
