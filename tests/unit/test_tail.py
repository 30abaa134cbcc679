"""What the tail says of itself when it cannot follow."""

from __future__ import annotations

import asyncio
import contextlib
import time

import structlog

from services.authz.cache import Changes
from services.authz.tail import Tail


async def test_a_tail_that_is_lost_tells_why_though_the_error_has_no_text():
    refused = asyncio.Event()

    async def connect():
        refused.set()
        raise TimeoutError

    with structlog.testing.capture_logs() as told:
        running = asyncio.create_task(Tail(connect, Changes(), time.monotonic, structlog.get_logger()).run())
        await refused.wait()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
    assert [entry["reason"] for entry in told] == ["TimeoutError()"]
