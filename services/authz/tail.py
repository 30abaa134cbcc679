"""Follows the log of changes, so that cached facts end when what they say ends.

NOTIFY wakes it, the log itself is what it believes. `revision` is how far this process has followed; `age` says how long
ago that was last confirmed, which bounds how stale an answer from memory can be (guarantee 6).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

from services.authz.cache import Changes
from services.authz.store import ChangedRow, read_changes_after, read_revision
from shared.db import DATABASE_ERRORS, Connection
from shared.observe.logs import Logger

CHANNEL: Final = "plystra_authz_event"
POLL_SECONDS: Final = 0.25
PAGE: Final = 1_000


class Tail:
    """One connection that follows the log; `run` lives as long as the service."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        changes: Changes,
        monotonic: Callable[[], float],
        logger: Logger,
    ) -> None:
        self._connect = connect
        self._changes = changes
        self._monotonic = monotonic
        self._logger = logger
        self._wake = asyncio.Event()
        self._advanced = asyncio.Condition()
        self._confirmed_at: float | None = None
        self.revision = 0

    @property
    def age(self) -> float:
        """Seconds since it was last known that nothing newer than `revision` was committed; infinite at first."""
        return float("inf") if self._confirmed_at is None else self._monotonic() - self._confirmed_at

    async def reach(self, revision: int, timeout: float) -> bool:
        """Wait until `revision` is followed; False when that takes longer than `timeout` seconds."""
        if self.revision >= revision:
            return True
        self._wake.set()
        try:
            async with asyncio.timeout(timeout), self._advanced:
                await self._advanced.wait_for(lambda: self.revision >= revision)
        except TimeoutError:
            return False
        return True

    async def run(self) -> None:
        """Follow the log until cancelled, reconnecting after failures."""
        delay = 0.05
        while True:
            try:
                connection = await self._connect()
            except DATABASE_ERRORS as error:
                self._logger.warning("tail_lost", reason=repr(error), retry_in_seconds=delay)
                await asyncio.sleep(delay)
                delay = min(delay * 2, 1.0)
                continue
            try:
                await connection.add_listener(CHANNEL, self._notified)
                if self._confirmed_at is None:
                    self.revision = await read_revision(connection)
                delay = 0.05
                await self._follow(connection)
            except DATABASE_ERRORS as error:
                self._logger.warning("tail_lost", reason=repr(error), retry_in_seconds=delay)
                await asyncio.sleep(delay)
                delay = min(delay * 2, 1.0)
            finally:
                connection.terminate()

    def _notified(self, *_: Any) -> None:
        self._wake.set()

    async def _follow(self, connection: Connection) -> None:
        while True:
            self._wake.clear()
            asked_at = self._monotonic()
            rows = await read_changes_after(connection, self.revision, PAGE)
            for row in rows:
                self._changes.mark(tokens_of(row), row.revision)
            if rows:
                self.revision = rows[-1].revision
            if len(rows) < PAGE:
                # Everything committed before the question was asked is now known.
                self._confirmed_at = asked_at
                async with self._advanced:
                    self._advanced.notify_all()
                # Not wait_for: in Python 3.11 that forgets to be cancelled when what it waits for comes at the same time.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(POLL_SECONDS):
                        await self._wake.wait()


def tokens_of(row: ChangedRow) -> tuple[str, ...]:
    """Name what a change makes untrue; an unknown kind of entity ends all that is known of its Space."""
    match row.entity_type:
        case "user" | "member" | "user_member":
            return (f"{row.entity_type}:{row.entity_id}",)
        case "member_role":
            return (f"member:{row.member_id}",)
        case "resource":
            return (f"resource:{row.resource_type}/{row.entity_id}",)
        case "resource_type" | "resource_action":
            return ("registry",)
        case "permission":
            return ("permissions",)
        case "space":
            return (f"policy:{row.entity_id}",)
        case _:  # group, role, role_permission
            return (f"policy:{row.space_id}",)
