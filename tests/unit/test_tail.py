"""What the tail says of itself when it cannot follow."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import cast

import structlog

from services.authz.cache import Changes
from services.authz.tail import Tail
from shared.observe.logs import Logger


async def test_a_tail_that_is_lost_tells_why_though_the_error_has_no_text():
    refused = asyncio.Event()

    async def connect():
        refused.set()
        raise TimeoutError

    told = structlog.testing.CapturingLogger()
    running = asyncio.create_task(Tail(connect, Changes(), time.monotonic, cast("Logger", told)).run())
    await refused.wait()
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    assert [call.kwargs["reason"] for call in told.calls] == ["TimeoutError()"]
