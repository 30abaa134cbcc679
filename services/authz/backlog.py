"""How many events wait for delivery, and since when: looked at every half second, added to in between.

Backpressure, not loss: at the configured ceiling no further decision is taken until audit has caught up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Final

import msgspec

from services.authz.store import SQL
from shared.db import DATABASE_ERRORS, Pool, Session

POLL_SECONDS: Final = 0.5


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """The undelivered events of all writers together."""

    events: int
    oldest_at: datetime | None


class RelayState(msgspec.Struct, frozen=True, kw_only=True):
    """What the relay last did; all None before its first sign of life."""

    delivered_at: datetime | None
    delivered_lag_ms: int | None
    instance: str | None
    last_error: str | None
    last_error_at: datetime | None
    refused: int
    seen_at: datetime | None


async def read_waiting(connection: Session) -> Waiting:
    """Count the undelivered events."""
    rows = await connection.fetch(SQL["read_backlog"])
    return Waiting(
        events=sum(row["waiting"] for row in rows), oldest_at=min((row["oldest_at"] for row in rows), default=None)
    )


async def read_relay(connection: Session) -> RelayState:
    """Read what the relay notes of itself."""
    row = await connection.fetchrow(SQL["read_relay"])
    assert row is not None  # the table holds one row always
    return RelayState(**dict(row))


class Backlog:
    """The last look at the outbox, and whether there is room for more."""

    def __init__(self, pool: Pool, recorded: Callable[[], int], ceiling: int) -> None:
        self._pool = pool
        self._recorded = recorded
        self._ceiling = ceiling
        self._seen = 0
        self._recorded_then = 0

    def has_room(self, unrecorded: int) -> bool:
        """Tell whether one more event stays below the ceiling; counts what was recorded since the last look, or will be."""
        return self._seen + (self._recorded() - self._recorded_then) + unrecorded < self._ceiling

    async def run(self) -> None:
        """Look every half second; a failing look changes nothing, since what is recorded is counted on."""
        while True:
            try:
                recorded = self._recorded()
                async with self._pool.acquire() as connection:
                    waiting = await read_waiting(connection)
                self._seen, self._recorded_then = waiting.events, recorded
            except DATABASE_ERRORS:
                pass  # the database is away: nothing can be recorded either
            await asyncio.sleep(POLL_SECONDS)
