"""Entries of the log as raw SQL, for the tests that break its laws."""

from __future__ import annotations

from typing import Any, Final

import psycopg

Connection = psycopg.Connection[tuple[Any, ...]]

ENTRIES: Final = """
insert into {table} (log_index, recorded_at, occurred_at, epoch, sequence, revision, event_id, kind, source, leaf_hash, leaf)
select i, %(at)s::timestamptz, now(), 1, i, 0, coalesce(%(event_id)s, gen_random_uuid()), 'member_role.granted', 'test',
    sha256('\\x007b7d'), '{{}}'
from generate_series(%(first)s::bigint, %(last)s::bigint) as i
"""


def insert(
    connection: Connection,
    first: int,
    last: int,
    *,
    at: str = "2026-01-01T00:00:00Z",
    event_id: str | None = None,
    table: str = "audit.entry",
) -> None:
    """Insert entries of these indexes in one statement."""
    values = {"first": first, "last": last, "at": at, "event_id": event_id}
    connection.execute(ENTRIES.format(table=table).encode(), values)


def indexes(connection: Connection) -> list[int]:
    """The indexes in the log, which must be those that its event ids lead to."""
    rows = [row[0] for row in connection.execute("select log_index from audit.entry order by log_index")]
    named = [row[0] for row in connection.execute("select log_index from audit.entry_by_event order by log_index")]
    assert rows == named
    return rows
