"""Runs a service under granian: one worker process, graceful on SIGTERM, never outliving its parent."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable

from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings

from shared.process import die_with_parent
from shared.settings import ServiceSettings
from shared.web.edge import ASGIApp
from shared.web.system import Build


def serve(target: str, *, host: str, port: int, drain_seconds: int) -> None:
    """Serve `package.module:factory` until SIGTERM or SIGINT; returns when everything in flight is answered.

    One worker: a process is the unit of scale (a group commit, a cache and a tail each), so more of them are more
    replicas behind a load balancer, not more workers here.
    """
    # A forked worker begins with granian's handlers for the main process, which tell it nothing: without this, a stop
    # that comes while it is starting would go unheard until it is killed for being slow.
    os.register_at_fork(after_in_child=_restore_signals)
    Granian(
        target,
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        factory=True,
        workers=1,
        loop=Loops.uvloop,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=10_000, max_buffer_size=128 * 1024),
        websockets=False,
        backlog=2048,
        workers_kill_timeout=drain_seconds,
        log_enabled=False,
    ).serve()


def _restore_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


def worker_app(make: Callable[[], ASGIApp]) -> ASGIApp:
    """Make the application of a worker process, which ends when the process that started it does."""
    die_with_parent()
    app = make()
    # What the program itself is made of stays for good: the cycle collector need not look at it again.
    gc.collect()
    gc.freeze()
    return app


def build_info(settings: ServiceSettings) -> Build:
    """Say what the running image was built from."""
    return Build(commit=settings.build_commit, time=settings.build_time)
