"""Whether authz is in maintenance, as an operator switched it in the database: looked at again and again, obeyed at the gate.

Every replica looks by itself, so each obeys within a second, and one that is started later from its first request on. A
look that fails changes nothing: what was known goes on to hold. Requests that were let in are answered.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Final

import msgspec

from services.authz.store import SQL
from shared.db import DATABASE_ERRORS, Pool
from shared.observe.logs import Logger
from shared.problems import Problem, retry_later
from shared.web.gate import Gate
from shared.web.system import ReadyCheck

POLL_SECONDS: Final = 0.25


class Closed(msgspec.Struct, frozen=True, kw_only=True):
    """A maintenance that is on: since when, why, and after how many seconds it makes sense to ask again."""

    reason: str
    retry_after_seconds: int
    since: datetime

    def refusal(self) -> Problem:
        """Return what callers are told."""
        return retry_later("maintenance", self.told(), self.retry_after_seconds)

    def told(self) -> str:
        """Say since when and why, in a sentence."""
        return f"authz is in maintenance since {self.since:%Y-%m-%dT%H:%M:%SZ}: {self.reason.rstrip('.')}."


class Maintenance:
    """The last look at the switch, and the gate that follows it; `run` lives as long as the service."""

    def __init__(self, pool: Pool, gate: Gate, logger: Logger) -> None:
        self._pool = pool
        self._gate = gate
        self._logger = logger
        self._has_table = False
        self._closed: Closed | None = None

    async def look(self) -> None:
        """Read the switch and obey it; a database that is away, or lacks the table yet, leaves all as it is."""
        try:
            async with self._pool.acquire(timeout=2.0) as connection:
                # Asked for instead of met as an error: until the migration is applied, the server's log stays clean.
                self._has_table = self._has_table or await connection.fetchval(SQL["has_maintenance"])
                if not self._has_table:
                    return
                row = await connection.fetchrow(SQL["read_maintenance"])
        except DATABASE_ERRORS:
            return
        closed = None if row is None else Closed(**dict(row))
        if closed == self._closed:
            return
        self._closed = closed
        self._gate.refusal = None if closed is None else closed.refusal()
        self._logger.warning("maintenance", on=closed is not None, reason=closed and closed.reason)

    async def run(self) -> None:
        """Look four times a second until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(POLL_SECONDS)

    def ready_check(self) -> ReadyCheck:
        """Say whether requests are let in."""
        if self._closed is None:
            return ReadyCheck(name="maintenance", ok=True, detail="Maintenance is off.")
        return ReadyCheck(name="maintenance", ok=False, detail=self._closed.told())
