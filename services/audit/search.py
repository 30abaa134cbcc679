"""Answers searches of the log page by page, from its own pool of read-only sessions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from services.audit.cursor import Cursor, read_cursor, write_cursor
from services.audit.model import EventRow, StoredEvent
from services.audit.store import Filters, get_entry, list_entries, read_log_size
from shared.db import DATABASE_ERRORS, Pool, Session
from shared.problems import retry_later

_PATIENCE_SECONDS: Final = 5.0


class FoundPage(NamedTuple):
    """The entries of one page, newest first, and the text of the cursor to the next; None on the last one."""

    rows: list[EventRow]
    next_cursor: str | None


class Search:
    """Reads the log; each method raises a 503 problem when the database cannot be read."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def find_page(self, filters: Filters, *, limit: int, cursor: str | None) -> FoundPage:
        """Return the page at the cursor, the first one without; raises `invalid_cursor` for one of another search."""
        place = None if cursor is None else read_cursor(cursor, filters)
        async with self._session() as session:
            if place is None:
                size = await read_log_size(session)
                place = Cursor(before=size, log_size=size)
            # One more than asked for tells whether there is a next page.
            rows = await list_entries(session, filters, before=place.before, limit=limit + 1)
        if len(rows) <= limit:
            return FoundPage(rows, None)
        rows.pop()
        return FoundPage(rows, write_cursor(Cursor(rows[-1].log_index, place.log_size), filters))

    async def get_event(self, event_id: str) -> StoredEvent | None:
        """Return an event's entry with its bytes, or None."""
        async with self._session() as session:
            return await get_entry(session, event_id)

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[Session]:
        try:
            async with self._pool.acquire(timeout=_PATIENCE_SECONDS) as session:
                yield session
        except DATABASE_ERRORS as error:
            raise retry_later(
                "database_unavailable", "The log could not be read; ask again.", log_detail=repr(error)
            ) from error
