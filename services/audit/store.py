"""Reads the log: searches newest first, page by page, and single entries."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, TypeVar

import msgspec
from asyncpg import Record

from services.audit.model import EventRow, StoredEvent
from shared.credentials import Credential
from shared.db import Session, load_queries

SQL: Final = load_queries(Path(__file__).with_name("queries.sql"))
# The one statement of every search is planned for the filters that are given, each time. A page is read in the order of
# an index, never gathered and sorted: that a planner without statistics on a fresh partition would rather do. Each partition
# has statistics of its own, so a value that was common long ago is not taken for common now.
READ_PARAMETERS: Final = {
    "default_transaction_read_only": "on",
    "enable_bitmapscan": "off",
    "enable_sort": "off",
    "jit": "off",
    "plan_cache_mode": "force_custom_plan",
    "random_page_cost": "1.1",
    "statement_timeout": "15s",
}

S = TypeVar("S", bound=msgspec.Struct)


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """What a search asks for: equality on every field that is not None, and recorded_at within [since, until)."""

    kind: str | None = None
    space_id: str | None = None
    user_id: str | None = None
    member_id: str | None = None
    resource_type: str | None = None
    resource_id: str | None = None
    action: str | None = None
    decision: str | None = None
    deny_code: str | None = None
    request_id: str | None = None
    entity_type: str | None = None
    entity_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


async def read_log_size(connection: Session) -> int:
    """Return how many entries the log has."""
    return int(await connection.fetchval(SQL["read_log_size"]))


async def list_entries(connection: Session, filters: Filters, *, before: int, limit: int) -> list[EventRow]:
    """Return the newest entries below the index `before` that pass the filters."""
    low, high = 0, before
    if filters.since is not None:
        low = await _index_at(connection, filters.since)
    if filters.until is not None:
        high = min(before, await _index_at(connection, filters.until))
    if low >= high:
        return []
    rows = await connection.fetch(
        SQL["list_entries"],
        low,
        high,
        limit,
        filters.kind,
        filters.space_id,
        filters.user_id,
        filters.member_id,
        filters.resource_type,
        filters.resource_id,
        filters.action,
        filters.decision,
        filters.deny_code,
        filters.request_id,
        filters.entity_type,
        filters.entity_id,
    )
    return _structs(rows, EventRow)


async def get_entry(connection: Session, event_id: str) -> StoredEvent | None:
    """Return the entry of an event, or None; `event_id` has the form of a UUID."""
    rows = await connection.fetch(SQL["get_entry"], event_id)
    return next(iter(_structs(rows, StoredEvent)), None)


async def find_credential(connection: Session, credential_id: str) -> Credential | None:
    """Return an API key of audit, or None."""
    row = await connection.fetchrow(SQL["find_credential"], credential_id)
    return None if row is None else Credential(**dict(row) | {"permission_keys": frozenset(row["permission_keys"])})


async def read_migrations(connection: Session) -> list[str]:
    """Return the ids of the applied migrations in their order."""
    return [row["id"] for row in await connection.fetch(SQL["read_migrations"])]


async def _index_at(connection: Session, moment: datetime) -> int:
    """Map a time to the index from which on entries are not older: recorded_at never decreases with the index."""
    return int(await connection.fetchval(SQL["find_index_at"], moment))


def _structs(rows: Sequence[Record], kind: type[S]) -> list[S]:
    return [kind(**row) for row in rows]
