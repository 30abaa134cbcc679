"""Whether the tables of the permission graph are what its events made of them: a replay, compared row by row.

It reads nothing of authz's code: a row is the `after` of the last event of it, each event begins where the one before it
left the row, and revisions have no gap. PostgreSQL does the comparing, so memory stays flat however long the history is; only
groups, which are moved by subtrees, are followed one event after the other (`group_replay.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import psycopg
from psycopg import IsolationLevel, sql
from psycopg.rows import dict_row

from shared.ctl.first_fault import FirstFault
from shared.ctl.group_replay import replay_groups
from shared.db import load_queries
from shared.migrations.errors import CannotCompare
from shared.migrations.ledger import connect

_QUERIES: Final = load_queries(Path(__file__).with_name("projections.sql"))
NOUNS: Final = (
    "user",
    "space",
    "group",
    "member",
    "user_member",
    "resource_type",
    "resource_action",
    "role",
    "permission",
    "role_permission",
    "member_role",
    "resource",
)
# code -> (why it matters, what to do next)
FAULTS: Final[dict[str, tuple[str, str]]] = {
    "revision_gap": (
        "An event that was there is gone, or one was slipped in: what was changed then can't be shown.",
        "Compare with the audit log, which has the same events by their revision; restore authz from a backup.",
    ),
    "unknown_noun": (
        "Nothing is made from such an event, so what it changed has no effect.",
        "Find out which release wrote it; this plystractl may be older than the service.",
    ),
    "broken_history": (
        "Between two events the row was changed by something that left no event, or an event was edited.",
        "Compare both events with the audit log; it has their bytes as they were recorded.",
    ),
    "row_missing": (
        "Decisions are taken without a row that the history says is there.",
        "Find out who deleted it; then write the row anew from the event's `after`, or restore authz from a backup.",
    ),
    "row_unexplained": (
        "Decisions are taken on a row that nobody is known to have made.",
        "Find out who inserted it; take it out unless it is accounted for, then look for what was decided with it.",
    ),
    "row_differs": (
        "Decisions are taken on values that nobody is known to have set.",
        "Find out who changed the row; then write it anew from the event's `after`.",
    ),
}


class Difference(FirstFault, frozen=True, kw_only=True):
    """A way in which tables and events part."""

    kinds = FAULTS


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What was compared, as of one moment, and what was found."""

    differences: list[Difference]
    events: int
    revision: int


def compare_projections(dsn: str) -> Comparison:
    """Replay authz's events and compare; only reads, in one snapshot, while the service may go on."""
    with connect(dsn, "authz verify-projections", read_only=True) as connection:
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        connection.row_factory = dict_row  # type: ignore[assignment]  # psycopg types a connection by its first factory
        try:
            with connection.transaction():
                counted = _first(connection, "count_events")
                differences = [
                    *_of_history(connection),
                    *(difference for noun in NOUNS for difference in _of_noun(connection, noun)),
                ]
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as error:
            raise CannotCompare(
                f"There is no permission graph in this database: {str(error).splitlines()[0]}.",
                why="Without its tables nothing can be said about them.",
                remedy="check that the DSN is authz's; then: plystractl migrate status --service authz",
            ) from error
        except psycopg.errors.InsufficientPrivilege as error:
            raise CannotCompare(
                f"This user may not read the permission graph: {str(error).splitlines()[0]}.",
                why="What can't be read can't be compared.",
                remedy="use the DSN that authz's database is migrated with, or grant authz_reader.",
            ) from error
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            raise CannotCompare(
                f"An event holds what its table could never hold: {str(error).splitlines()[0]}.",
                why="No command writes such an event, so it was edited; no row can be made from it.",
                remedy="look for the value in authz.event; compare with the audit log, and restore authz from a backup.",
            ) from error
    return Comparison(differences=differences, **counted)


def _of_history(connection: psycopg.Connection[Any]) -> Iterator[Difference]:
    if gap := _first(connection, "find_revision_gap"):
        seen = f"revision {gap['revision']} follows {gap['before_it']}"
        yield Difference(code="revision_gap", subject="authz.event", seen=seen, total=gap["total"])
    if unknown := _first(connection, "find_unknown_noun", nouns=list(NOUNS)):
        seen = f"revision {unknown['revision']} is of the noun {unknown['entity_type']!r}"
        yield Difference(code="unknown_noun", subject="authz.event", seen=seen, total=unknown["total"])


def _of_noun(connection: psycopg.Connection[Any], noun: str) -> Iterator[Difference]:
    broken, different = replay_groups(connection) if noun == "group" else _replay(connection, noun)
    if broken:
        seen = f"revision {broken['revision']}, {broken['kind']}: {_fields(broken['before'], broken['was'])}"
        subject = f"authz.{noun} {broken['entity_id']}"
        yield Difference(code="broken_history", subject=subject, seen=seen, total=broken["total"])
    if different:
        made, stored = different["made"], different["stored"]
        if stored is None:
            code, seen = "row_missing", f"revision {different['revision']} made it so: {made}"
        elif made is None:
            code, seen = "row_unexplained", f"no event made it: {stored}"
        else:
            code, seen = "row_differs", f"since revision {different['revision']}: {_fields(stored, made)}"
        yield Difference(code=code, subject=f"authz.{noun} {different['id']}", seen=seen, total=different["total"])


def _replay(connection: psycopg.Connection[Any], noun: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the first event that doesn't follow and the first row that differs; each is empty when there is none."""
    # A resource is told apart by its type too; everything else by its id alone.
    typed = noun == "resource"
    parts = {
        "table": sql.Identifier("authz", noun),
        "noun": sql.Literal(noun),
        "identity": sql.SQL("e.after ->> 'resource_type'" if typed else "e.entity_type"),
        "joined": sql.SQL(
            "live.id = replayed.id and live.resource_type = replayed.resource_type"
            if typed
            else "live.id = replayed.id"
        ),
    }
    return _first(connection, "find_broken_history", parts), _first(connection, "find_difference", parts)


def _fields(found: dict[str, Any] | None, expected: dict[str, Any] | None) -> str:
    """Name the fields in which a row isn't what it should be."""
    if found is None or expected is None:
        return f"begins with {found}, the event before left {expected}"
    names = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
    return "; ".join(f"{name} is {found.get(name)!r}, should be {expected.get(name)!r}" for name in names)


def _first(
    connection: psycopg.Connection[Any], name: str, parts: dict[str, sql.Composable] | None = None, **values: Any
) -> dict[str, Any]:
    statement = sql.SQL(_QUERIES[name]).format(**parts or {})
    row: dict[str, Any] | None = connection.execute(statement, values or None).fetchone()
    return row or {}
