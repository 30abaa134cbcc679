"""Loads a world into authz's database, set by set and past the command path: ten million changes would take it hours.

What is there afterwards is what the commands would have left: an event for each row, with gap-free revisions, and the row as
its event's `after`, so `plystractl authz verify-projections` finds nothing. One thing is missing: the events are not in
the outbox, so audit never hears of them; the writer of changes is moved past them, and the next command goes on after them.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import sql

from benchmarks.worlds import ACTIONS, ACTIONS_OF_A_ROLE, RISKS, ROLES, SCOPES, TYPES, Estate, World
from services.authz.journal import CHANGES_SOURCE
from services.authz.nouns import NOUNS
from shared.clock import epoch_microseconds, utc_now
from shared.db import load_queries

_SQL: Final = load_queries(Path(__file__).with_name("worlds.sql"))
_KINDS: Final = {noun.name: noun.kind(noun.made) for noun in NOUNS.values()}
_STAMP: Final = "2026-01-01T00:00:00Z"
_DELIVERY_SECONDS: Final = 30.0
BATCH: Final = 50_000


class Loaded(NamedTuple):
    """How many rows were made, each with its event, and how long it took."""

    rows: int
    seconds: float


class _Work(NamedTuple):
    """All rows of one noun: how many, and the parameters of the statement that makes them."""

    noun: str
    total: int
    parameters: dict[str, Any]


def load_world(
    dsn: str,
    world: World,
    *,
    say: Callable[[str], None] = print,
    batch: int = BATCH,
    patience: float = _DELIVERY_SECONDS,
) -> Loaded:
    """Load a world, as the owner of authz's database; one world a database.

    Changes that were made before must be delivered first; raises RuntimeError when that takes longer than `patience` seconds.
    """
    started, rows = time.monotonic(), 0
    # Two sessions, since PostgreSQL gives each one core: rows follow the events that make them, a few batches behind.
    with _connected(dsn) as events, _connected(dsn) as tables, ThreadPoolExecutor(max_workers=1) as follower:
        events.execute(_SQL["make_pick"])
        _await_delivery(events, patience)
        for work in _works(world):
            before = time.monotonic()
            following = []
            for first in range(0, work.total, batch):
                made = _append(events, work, first, min(first + batch, work.total) - 1)
                following.append(follower.submit(_project, tables, work.noun, *made))
            for each in following:
                each.result()
            rows += work.total
            rate = work.total / max(time.monotonic() - before, 1e-6)
            say(f"  {work.noun:16} {work.total:>12,} rows and events, {rate:>9,.0f}/s")
        before = time.monotonic()
        events.execute("vacuum (analyze)")
        say(f"  vacuum and analyze took {time.monotonic() - before:,.0f} s")
    return Loaded(rows, time.monotonic() - started)


def _connected(dsn: str) -> psycopg.Connection[Any]:
    """Open a session as the owner; parameters are written into the text, so that numbers have the types of literals."""
    connection = psycopg.connect(dsn, autocommit=True, cursor_factory=psycopg.ClientCursor)
    connection.execute("set role authz_owner")
    return connection


def _works(world: World) -> Iterator[_Work]:
    """What to make, in an order in which it can be made."""
    catalogue = {"action_keys": list(ACTIONS), "risks": list(RISKS), "scopes": list(SCOPES)}
    yield _Work("resource_type", TYPES, catalogue)
    yield _Work("resource_action", TYPES * len(ACTIONS), catalogue)
    yield _Work("permission", TYPES * len(ACTIONS) * len(SCOPES), catalogue)
    for estate in world.estates:
        yield from _works_of(estate)


def _works_of(estate: Estate) -> Iterator[_Work]:
    shape = dataclasses.asdict(estate) | {"users": estate.users, "granted": list(estate.granted)}
    spaces = estate.spaces
    counts = {
        "user": estate.users,
        "space": spaces,
        "group": spaces * estate.groups,
        "member": spaces * estate.members,
        "user_member": spaces * estate.members,
        "role": spaces * ROLES,
        "role_permission": spaces * ROLES * TYPES * ACTIONS_OF_A_ROLE,
        "member_role": spaces * estate.members * estate.grants,
        "resource": spaces * estate.resources,
    }
    for noun, count in counts.items():
        yield _Work(noun, count, shape)


def _append(connection: psycopg.Connection[Any], work: _Work, first: int, last: int) -> tuple[int, int]:
    """Append the events that make the rows numbered first to last; returns their first and last revision."""
    statement = sql.SQL(_SQL["append"]).format(images=sql.SQL(_SQL[work.noun]))
    with connection.transaction():
        connection.execute(_SQL["lock_events"])
        revision = _number(connection, "read_revision") + 1
        described = {"entity_type": work.noun, "kind": _KINDS[work.noun], "request_id": "benchmark", "stamp": _STAMP}
        numbers = {"first": first, "last": last, "revision": revision}
        connection.execute(statement, work.parameters | described | numbers)
        reached = revision + last - first
        connection.execute(_SQL["pass_over"], {"revision": reached})
    return revision, reached


def _project(connection: psycopg.Connection[Any], noun: str, first: int, last: int) -> None:
    """Make the rows of the events of these revisions."""
    statement = sql.SQL(_SQL["project"]).format(table=sql.Identifier("authz", noun))
    connection.execute(statement, {"first": first, "last": last})


def _await_delivery(connection: psycopg.Connection[Any], patience: float) -> None:
    """Wait until no change waits for delivery: the writer can only be moved past the end of what it has delivered."""
    revision = _number(connection, "read_revision")
    writer = {"epoch": epoch_microseconds(utc_now()), "revision": revision, "source": CHANGES_SOURCE}
    connection.execute(_SQL["register_changes_writer"], writer)
    deadline = time.monotonic() + patience
    while waiting := _number(connection, "count_undelivered", revision=revision):
        if time.monotonic() > deadline:
            raise RuntimeError(f"{waiting} changes made before still wait for delivery to audit; start the relay")
        time.sleep(0.1)


def _number(connection: psycopg.Connection[Any], name: str, **parameters: int) -> int:
    ((number,),) = connection.execute(_SQL[name], parameters).fetchall()
    return int(number)
