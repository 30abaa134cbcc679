"""Brings a restored authz up to the changes that audit has of it: appended with their own ids, projected, none delivered again.

All in one transaction, under the lock of whoever writes changes: killed at any point, nothing has happened, and a second run
finds nothing to do. What authz had recorded and never delivered before the loss is nowhere, and can't be brought back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import psycopg
from psycopg import IsolationLevel, sql

from shared.ctl.history import GROUP_MOVED
from shared.ctl.projections import NOUNS
from shared.db import load_queries
from shared.envelope import ChangeData
from shared.migrations.errors import CannotCompare, ExitCode, OperatorError, Unreachable
from shared.migrations.ledger import connect
from shared.recorded import EventRefused, Recorded, hash_leaf, read_event

Connection = psycopg.Connection[Any]
SQL: Final = load_queries(Path(__file__).with_name("catch_up.sql"))
SOURCE: Final = "authz.changes"
_ROWS_A_FETCH: Final = 1_000
_TELL_EVERY: Final = 1_000


class Forked(OperatorError):
    """audit and authz have different changes under one revision, or what audit has doesn't follow from what is there."""

    exit_code = ExitCode.REFUSED


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How far both are: `missing` changes can be caught up; `lost` ones were decided on and never came to audit."""

    authz_revision: int
    audit_revision: int
    missing: int
    lost: int


class _Change(msgspec.Struct, frozen=True, kw_only=True):
    log_index: int
    event: Recorded
    data: ChangeData
    before: dict[str, Any] | None
    after: dict[str, Any]


def compare_standing(authz_dsn: str, audit_dsn: str) -> Standing:
    """Tell by how many changes authz is behind audit; only reads. Raises `Forked` when one revision is two changes."""
    with (
        connect(authz_dsn, "authz catch-up", read_only=True) as authz,
        connect(audit_dsn, "authz catch-up", read_only=True) as audit,
        _explained(),
    ):
        return _stand(authz, audit)


def catch_up(authz_dsn: str, audit_dsn: str, progress: Callable[[str], None]) -> Standing:
    """Append and project what audit has after authz's revision; returns how both stood before."""
    with (
        connect(authz_dsn, "authz catch-up", read_only=False) as authz,
        connect(audit_dsn, "authz catch-up", read_only=True) as audit,
        _explained(),
    ):
        audit.isolation_level = IsolationLevel.REPEATABLE_READ
        with audit.transaction(), authz.transaction():
            authz.execute(SQL["lock_events"])
            standing = _stand(authz, audit)
            if standing.missing:
                _apply(authz, _changes(audit, standing.authz_revision), standing, progress)
    return standing


def _stand(authz: Connection, audit: Connection) -> Standing:
    # audit is read first: what comes meanwhile from a running authz would else look as if authz lacked it.
    (known,) = _one(audit, "find_last_change", source=SOURCE)
    (decided,) = _one(audit, "find_last_decided")
    (revision,) = _one(authz, "find_revision")
    shared = min(known, revision)
    ours = {id for (id,) in authz.execute(SQL["find_event_at"], {"revision": shared})}
    theirs = [id for (id,) in audit.execute(SQL["find_changes_at"], {"source": SOURCE, "revision": shared})]
    if set(theirs) != ours:
        raise Forked(
            f"Revision {shared} is the change {', '.join(ours)} in authz, and {', '.join(theirs)} in audit.",
            why="authz was changed after a restore and before it had caught up: its history is another one since then.",
            remedy="restore authz from the backup again, and let it catch up before it is started.",
        )
    return Standing(
        authz_revision=revision,
        audit_revision=known,
        missing=max(0, known - revision),
        lost=max(0, decided - max(known, revision)),
    )


def _changes(audit: Connection, after: int) -> Iterator[_Change]:
    """Yield the changes after a revision, each proved by its hash and following the one before it without a gap."""
    with audit.cursor("changes") as cursor:
        cursor.itersize = _ROWS_A_FETCH
        for expected, (leaf, leaf_hash, log_index) in enumerate(
            cursor.execute(SQL["stream_changes"], {"source": SOURCE, "after": after}), start=after + 1
        ):
            change = _read(bytes(leaf), bytes(leaf_hash), log_index)
            if change.event.revision != expected:
                raise Forked(
                    f"In audit revision {change.event.revision} (log index {log_index}) stands where {expected} should.",
                    why="A change is missing between them, or one revision was given twice.",
                    remedy="look for it with: plystractl authz catch-up --from-audit --check; nothing was changed.",
                )
            yield change


def _read(leaf: bytes, leaf_hash: bytes, log_index: int) -> _Change:
    try:
        if hash_leaf(leaf) != leaf_hash:
            raise EventRefused("", "doesn't have the hash that was recorded")
        event = read_event(leaf)
        data = msgspec.json.decode(leaf, type=_Leaf).data
        before: dict[str, Any] | None = msgspec.json.decode(data.before)
        after: dict[str, Any] | None = msgspec.json.decode(data.after)
        if after is None or data.request is None or data.request.request_id is None or data.entity.type not in NOUNS:
            raise EventRefused("/data", "isn't a change of a row")
    except (EventRefused, msgspec.DecodeError) as error:
        raise CannotCompare(
            f"The change at log index {log_index} of audit can't be taken: {error}.",
            why="What isn't as authz recorded it must not become a row.",
            remedy="nothing was changed; look into the log at that index, which may have been tampered with.",
        ) from error
    return _Change(log_index=log_index, event=event, data=data, before=before, after=after)


class _Leaf(msgspec.Struct, frozen=True):
    data: ChangeData


def _apply(authz: Connection, changes: Iterator[_Change], standing: Standing, progress: Callable[[str], None]) -> None:
    tables = {noun: _Noun(authz, noun) for noun in NOUNS}
    change = None
    for done, change in enumerate(changes, start=1):
        _require_follows(authz, tables[change.data.entity.type], change)
        _project(authz, tables[change.data.entity.type], change)
        authz.execute(SQL["append_event"], _columns(change))
        if done % _TELL_EVERY == 0:
            progress(f"{done} of {standing.missing} changes")
    assert change is not None  # something was missing
    authz.execute("set constraints all immediate")
    found = authz.execute(SQL["find_writer"]).fetchone()
    if found is not None and found[0] != change.event.epoch:
        raise Forked(
            f"The changes in audit are of the epoch {change.event.epoch}, authz's of {found[0]}.",
            why="They are of another authz than the one that was restored.",
            remedy="check that both DSNs belong together; nothing was changed.",
        )
    position = {"source": SOURCE, "epoch": change.event.epoch, "sequence": change.event.sequence}
    authz.execute(SQL["mark_delivered"], position)
    authz.execute(SQL["notify_changes"], {"revision": str(change.event.revision)})


class _Noun:
    """The statements of one table."""

    def __init__(self, authz: Connection, noun: str) -> None:
        # A resource is told apart by its type too; everything else by its id alone.
        self.identity = ("resource_type", "id") if noun == "resource" else ("id",)
        table = sql.Identifier("authz", noun)
        names = [name for (name,) in authz.execute(SQL["list_columns"], {"table": f"authz.{noun}"})]
        located = sql.SQL(" and ").join(
            sql.SQL("live.{} = {}").format(sql.Identifier(name), sql.Placeholder(f"id_{name}"))
            for name in self.identity
        )
        assignments = sql.SQL(", ").join(
            sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in names if name not in self.identity
        )
        self.follows = sql.SQL(SQL["row_follows"]).format(table=table, located=located)
        self.project = sql.SQL(SQL["project"]).format(
            table=table,
            identity=sql.SQL(", ").join(map(sql.Identifier, self.identity)),
            assignments=assignments,
        )


def _require_follows(authz: Connection, noun: _Noun, change: _Change) -> None:
    values: dict[str, Any] = {f"id_{name}": change.after[name] for name in noun.identity}
    values["before"] = None if change.before is None else bytes(change.data.before).decode()
    row = authz.execute(noun.follows, values).fetchone()
    if not (row and row[0]):
        raise Forked(
            f"Revision {change.event.revision} ({change.event.kind}, log index {change.log_index}) doesn't begin where "
            f"authz's row of the {change.data.entity.type} {change.data.entity.id} is.",
            why="Rows and history have parted: applying it would hide that.",
            remedy="nothing was changed; see: plystractl authz verify-projections",
        )


def _project(authz: Connection, noun: _Noun, change: _Change) -> None:
    authz.execute(noun.project, {"after": bytes(change.data.after).decode()})
    if change.event.kind == GROUP_MOVED and change.before is not None:
        authz.execute(
            SQL["move_below"],
            {
                "space_id": change.after["space_id"],
                "before": change.before["path"],
                "after": change.after["path"],
                "revision": change.event.revision,
                "updated_at": msgspec.convert(change.after["updated_at"], datetime),
            },
        )


def _columns(change: _Change) -> dict[str, Any]:
    data, event = change.data, change.event
    assert data.request is not None  # it was read so
    return {
        "revision": event.revision,
        "event_id": event.event_id,
        "occurred_at": event.occurred_at,
        "kind": event.kind,
        "space_id": change.after.get("space_id"),
        "entity_type": data.entity.type,
        "entity_id": data.entity.id,
        "before": None if change.before is None else bytes(data.before).decode(),
        "after": bytes(data.after).decode(),
        "credential_id": data.actor.credential_id,
        "request_id": data.request.request_id,
        "reason": data.reason,
    }


def _one(connection: Connection, query: str, **values: Any) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = connection.execute(SQL[query], values or None).fetchone()
    assert row is not None  # an aggregate returns one row always
    return row


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Tell what the databases refuse as an operator needs to hear it."""
    try:
        yield
    except psycopg.OperationalError as error:
        raise Unreachable(
            f"The connection to a database was lost: {str(error).strip()}",
            why="Nothing was changed, or everything was: it is one transaction.",
            remedy="bring the server back, then: plystractl authz catch-up --from-audit",
        ) from error
    except psycopg.IntegrityError as error:
        raise Forked(
            f"The database refuses a change that audit has: {str(error).splitlines()[0]}.",
            why="It doesn't fit what authz holds, so both aren't of one history.",
            remedy="nothing was changed; see: plystractl authz verify-projections",
        ) from error
    except psycopg.Error as error:
        raise CannotCompare(
            f"A database can't be read or written: {str(error).splitlines()[0]}.",
            why="Catching up reads audit's log and writes authz's history and tables; nothing was changed.",
            remedy="check that PLYSTRA_AUTHZ_DSN and PLYSTRA_AUDIT_DSN are the owners' DSNs of migrated databases.",
        ) from error
