"""Looks for what holds a database up: old transactions, forgotten ones, slots that keep WAL, ids that run out, bad indexes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from psycopg import sql

from shared.ctl.doctor.context import Context
from shared.ctl.doctor.findings import Finding, NotApplicable

_HELD_UP = "It keeps locks and dead rows: migrations wait for it, and tables grow."


def look_at_transactions(context: Context, service: str) -> Iterator[Finding]:
    """Find sessions whose transaction lasts too long, and those that do nothing in theirs."""
    limits = context.limits
    rows = {row["pid"]: row for row in context.rows(service, "list_sessions")}
    with contextlib.suppress(NotApplicable):  # a role sees what its own sessions do, and few see everybody's
        rows |= {row["pid"]: row for row in context.rows(service, "list_sessions", "app")}
    for row in rows.values():
        idle = (
            row["state"].startswith("idle in transaction") and row["state_seconds"] > limits.idle_in_transaction_seconds
        )
        if idle or row["seconds"] > limits.transaction_seconds:
            yield Finding(
                seen=f"pid {row['pid']} ({row['application_name'] or 'unnamed'}, user {row['usename']}) is {row['state']} in a"
                f" transaction of {row['seconds']:.0f} s.",
                why=_HELD_UP,
                next=f"select pg_terminate_backend({row['pid']});",
            )


def look_at_prepared(context: Context, service: str) -> Iterator[Finding]:
    """Find prepared transactions: nothing of Plystra prepares any."""
    for row in context.rows(service, "list_prepared"):
        gid = sql.Literal(row["gid"]).as_string()
        yield Finding(
            seen=f"{row['owner']} prepared the transaction {row['gid']} {row['seconds']:.0f} s ago.",
            why=f"{_HELD_UP} It outlives its session, and a restart.",
            next=f"rollback prepared {gid};",
        )


def look_at_replication_slots(context: Context, service: str) -> Iterator[Finding]:
    """Find replication slots that nobody reads."""
    for row in context.rows(service, "list_idle_slots"):
        name = sql.Literal(row["slot_name"]).as_string()
        yield Finding(
            seen=f"Nobody reads the replication slot {row['slot_name']}, which holds"
            f" {row['bytes']} bytes of WAL ({row['wal_status']}).",
            why="The server keeps all WAL from there on, until its disk is full.",
            next=f"select pg_drop_replication_slot({name});",
        )


def look_at_wraparound(context: Context, service: str) -> Iterator[Finding]:
    """Find a database that runs out of transaction ids."""
    age = context.row(service, "read_transaction_age")["age"]
    if age > context.limits.transaction_ids:
        yield Finding(
            seen=f"The oldest rows that aren't frozen are {age} transactions old.",
            why="At 2,000,000,000 the server refuses to write; autovacuum should have frozen them long ago.",
            next="vacuum (freeze);",
        )


def look_at_indexes(context: Context, service: str) -> Iterator[Finding]:
    """Find indexes that aren't valid."""
    for row in context.rows(service, "list_invalid_indexes", schema=service):
        yield Finding(
            seen=f"The index {row['name']} isn't valid.",
            why="It costs every write, and no question uses it; a unique one doesn't hold its promise.",
            next=f"reindex index concurrently {row['name']};",
        )
