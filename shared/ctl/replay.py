"""Takes recorded decisions from audit and derives each again: from its trace alone, and from authz's history.

Reads audit.entry and authz.event, each in one snapshot, and no other table; writes nothing. Begin with `replay`; what is
compared is said in rederivation.py. Memory is bounded by the number of decisions asked for, whatever the size of the logs.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import psycopg
from psycopg import IsolationLevel
from psycopg.rows import dict_row
from psycopg.types.json import set_json_loads

from shared.ctl.disagreements import Disagreement, Tally
from shared.ctl.history import Change, History, UnreadableChange
from shared.ctl.rederivation import part_from_history, part_from_trace
from shared.ctl.trace import Question, UnreadableTrace, read_trace
from shared.db import load_queries
from shared.migrations.errors import CannotCompare, Unreachable
from shared.migrations.ledger import connect, describe

QUERIES: Final = load_queries(Path(__file__).with_name("replay.sql"))
_ROWS_A_FETCH: Final = 1_000

Connection = psycopg.Connection[Any]


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """Which decisions: the one of an id, or at most `number` spread over those recorded between two times."""

    decision: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    number: int = 1_000


class Replayed(msgspec.Struct, kw_only=True):
    """What was derived again, over which part of the log and of the history, and where the two part."""

    decisions: int = 0
    disagreements: list[Disagreement]
    inline: dict[str, int]
    log_indexes: tuple[int, int] | None
    revisions: tuple[int, int] | None


class _Decision(NamedTuple):
    """A decision that waits for the history to come to its revision; its trace is kept as bytes, which are small."""

    revision: int
    log_index: int
    event_id: str
    leaf: bytes
    question: Question

    @property
    def subject(self) -> str:
        return _subject(self.event_id, self.log_index)


def _subject(event_id: str, log_index: int) -> str:
    return f"decision {event_id} (log index {log_index})"


def replay(audit_dsn: str, authz_dsn: str, chosen: Chosen) -> Replayed:
    """Derive the chosen decisions again, twice each."""
    tally, inline = Tally(), Counter[str]()
    with _reading(audit_dsn, "audit", "log of decisions") as connection:
        decisions = sorted(_read_decisions(connection, chosen, tally, inline))
    with _reading(authz_dsn, "authz", "history of the permission graph") as connection:
        _derive_from_history(connection, decisions, tally)
    indexes = [decision.log_index for decision in decisions]
    return Replayed(
        decisions=len(decisions),
        disagreements=tally.found,
        inline=dict(sorted(inline.items())),
        log_indexes=(min(indexes), max(indexes)) if decisions else None,
        revisions=(decisions[0].revision, decisions[-1].revision) if decisions else None,
    )


def _read_decisions(connection: Connection, chosen: Chosen, tally: Tally, inline: Counter[str]) -> Iterator[_Decision]:
    """Read the chosen decisions and derive each from its trace; one that can't be read is counted, not returned."""
    for row in _choose(connection, chosen, tally):
        event_id, leaf = row["event_id"], row["leaf"]
        subject = _subject(event_id, row["log_index"])
        try:
            trace = read_trace(leaf)
        except UnreadableTrace as error:
            tally.add("unreadable_trace", subject, str(error))
            continue
        inline.update(trace.inline)
        if parted := part_from_trace(trace, event_id):
            tally.add("trace_disagrees", subject, parted)
        yield _Decision(trace.revision, row["log_index"], event_id, leaf, trace.question)


def _choose(connection: Connection, chosen: Chosen, tally: Tally) -> Iterator[dict[str, Any]]:
    if chosen.decision is not None:
        row = _row(connection, "find_decision", event_id=chosen.decision)
        if row and row["kind"].startswith("decision."):
            yield row
        else:
            seen = f"its event is a {row['kind']}" if row else "audit has no event of this id"
            tally.add("event_missing", f"decision {chosen.decision}", seen)
        return
    bounds = _row(connection, "find_range", since=chosen.since, until=chosen.until) | {"number": chosen.number}
    if bounds["first"] is None:
        return
    few = _row(connection, "count_decisions", **bounds)["found"] <= chosen.number
    yield from _stream(connection, "list_decisions" if few else "sample_decisions", bounds)


def _derive_from_history(connection: Connection, decisions: list[_Decision], tally: Tally) -> None:
    """Walk the history once, and derive each decision when it has come to its revision."""
    newest = decisions[-1].revision if decisions else 0
    size = _row(connection, "measure_history", highest=newest)
    highest = min(newest, size["last"])
    if size["events"] < highest:
        tally.add("revision_gap", "authz.event", f"up to revision {highest} there are {size['events']} events")
    if not decisions:
        return
    bearing = _find_bearing([decision.question for decision in decisions], connection, highest)
    changes = (Change(**row) for row in _stream(connection, "walk_changes", bearing))
    history, ahead = History(), next(changes, None)
    for decision in decisions:
        if decision.revision > highest:
            seen = f"it was taken at revision {decision.revision}, authz's last is {highest}"
            tally.add("revision_unknown", decision.subject, seen)
            continue
        while ahead is not None and ahead.revision <= decision.revision:
            try:
                history.apply(ahead)
            except UnreadableChange as error:
                tally.add("unreadable_change", f"authz.event revision {ahead.revision}", str(error))
            ahead = next(changes, None)
        if parted := part_from_history(read_trace(decision.leaf), history.facts(decision.question)):
            tally.add("history_disagrees", decision.subject, f"as of revision {decision.revision}, {parted}")


def _find_bearing(questions: list[Question], connection: Connection, highest: int) -> dict[str, Any]:
    """Return what `walk_changes` is asked for: every entity, and every Space, that can bear on one of the questions."""
    wanted: dict[str, set[str | None]] = {
        "user": {question.actor.user_id for question in questions},
        "member": {question.actor.member_id for question in questions},
        "user_member": {question.actor.user_member_id for question in questions},
        "space": {question.actor.space_id for question in questions},
        "resource": {question.resource_id for question in questions},
        **{noun: set() for noun in ("group", "member_role", "role", "role_permission", "permission")},
    }
    spaces = set()

    def find(name: str, ids: set[str | None]) -> None:
        for row in connection.execute(QUERIES[name].encode(), {"ids": list(ids), "highest": highest}):
            spaces.add(row.pop("space_id"))
            for column, id_ in row.items():
                wanted[column].add(id_)

    find("find_grants", wanted["member"])
    find("find_groups", wanted["resource"])
    find("find_holdings", wanted["role"])
    pairs = [(noun, id_) for noun, ids in wanted.items() for id_ in ids if id_ is not None]
    nouns, ids = zip(*pairs, strict=True)
    return {"nouns": list(nouns), "ids": list(ids), "spaces": list(spaces), "highest": highest}


def _row(connection: Connection, name: str, **values: Any) -> dict[str, Any]:
    return connection.execute(QUERIES[name].encode(), values).fetchone() or {}


def _stream(connection: Connection, name: str, values: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Return the rows of a statement through a cursor on the server's side, so that few of them are here at a time."""
    with connection.cursor(name) as cursor:
        cursor.itersize = _ROWS_A_FETCH
        yield from cursor.execute(QUERIES[name].encode(), values)


@contextlib.contextmanager
def _reading(dsn: str, service: str, what: str) -> Iterator[Connection]:
    """Open one read-only snapshot of a service's database, and tell why when it can't be read."""
    try:
        with connect(dsn, "authz replay", read_only=True) as connection:
            connection.isolation_level = IsolationLevel.REPEATABLE_READ
            connection.row_factory = dict_row  # type: ignore[assignment]  # psycopg types a connection by its first factory
            set_json_loads(msgspec.json.decode, connection)
            with connection.transaction():
                yield connection
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName, psycopg.errors.UndefinedFunction) as error:
        raise CannotCompare(
            f"There is no {what} in this database: {str(error).splitlines()[0]}.",
            why="Without it nothing can be derived again.",
            remedy=f"check that the DSN is {service}'s; then: plystractl migrate status --service {service}",
        ) from error
    except psycopg.errors.InsufficientPrivilege as error:
        raise CannotCompare(
            f"This user may not read the {what}: {str(error).splitlines()[0]}.",
            why="What can't be read can't be compared.",
            remedy=f"use the DSN that {service}'s database is migrated with, or grant {service}_reader.",
        ) from error
    except psycopg.OperationalError as error:
        raise Unreachable(
            f"The database {describe(dsn)} was lost while it was read: {str(error).strip()}",
            why="What was derived until then says nothing of the rest.",
            remedy="see that the server runs, then run the command again.",
        ) from error
