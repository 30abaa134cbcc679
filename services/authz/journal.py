"""Writes changes of the permission graph: each is an event, its projection and its place in the outbox, all or none.

The event is what happened; the projection is what it left behind, and can be made again from the events alone. Whoever
calls brings the transaction, so that a command that fails or is refused writes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import asyncpg
import msgspec
from msgspec import Raw

from services.authz.images import canonical_image
from services.authz.nouns import NOUNS, Noun
from services.authz.outbox import MAX_COMMIT_BYTES
from services.authz.store import SQL
from shared.clock import Clock, epoch_microseconds
from shared.compression import new_compressor
from shared.db import Session, load_queries
from shared.envelope import (
    MAX_BATCH_EVENTS,
    MAX_LEAF_BYTES,
    ChangeActor,
    ChangeData,
    ChangeEntity,
    ChangeRequest,
    encode_event,
)
from shared.problems import Problem, ProblemError

CHANGES_SOURCE: Final = "authz.changes"
GROUP_MOVED: Final = "group.moved"
WRITES: Final = load_queries(Path(__file__).with_name("journal.sql"))
_NULL: Final = b"null"
_SLICE: Final = 50


class Author(msgspec.Struct, frozen=True, kw_only=True):
    """Who makes a change: an API key, or an operator at the command line (no credential)."""

    credential_id: str | None
    ip: str | None = None
    request_id: str
    trace_id: str | None = None
    user_agent: str | None = None


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happens: the row before (None when it is made) and after, as plain JSON values."""

    after: dict[str, Any]
    before: dict[str, Any] | None
    entity_type: str
    kind: str
    reason: str | None = None

    @property
    def noun(self) -> Noun:
        """What it happens to."""
        return NOUNS[self.entity_type]

    @property
    def identity(self) -> tuple[str, ...]:
        """What tells its row from all others of the noun."""
        return tuple(self.after[field] for field in self.noun.identity)


class Violation(Exception):
    """A law of the database that a change breaks, to be told as a problem; of several changes it is one of them."""

    def __init__(self, constraint: str, changes: Sequence[Change]) -> None:
        super().__init__(constraint)
        self.constraint = constraint
        self.changes = tuple(changes)


class Refusal(msgspec.Struct, frozen=True):
    """A change that can't be written, and why."""

    change: Change
    error: Violation | Problem


class Written(msgspec.Struct, frozen=True):
    """What was written: the rows as they are now, in the order of their changes, and the revision of the last."""

    rows: list[dict[str, Any]]
    revision: int


class _Series(msgspec.Struct, frozen=True):
    """What the events of one transaction have in common."""

    author: Author
    now: datetime
    first: int
    writer_id: int
    source: str
    epoch: int


class _Event(msgspec.Struct, frozen=True):
    change: Change
    row: dict[str, Any]
    after: bytes
    before: bytes | None
    event_id: str
    leaf: bytes
    revision: int


class Journal:
    """The one hand that writes to the log of changes and to the tables that follow from it."""

    def __init__(self, *, clock: Clock, new_event_id: Callable[[], str]) -> None:
        self._clock = clock
        self._new_event_id = new_event_id

    async def lock(self, connection: Session) -> datetime:
        """Wait to be the only one that writes until the transaction ends; returns the time of what will be written.

        What is read after it is what the changes are made from.
        """
        await connection.fetch(SQL["lock_events"])
        last = await connection.fetchrow(SQL["read_last_event"])
        # Revisions and times run the same way, whatever clocks do: `as_of` a time is as of one revision.
        now = self._clock()
        return now if last is None else max(now, last["occurred_at"])

    async def write(self, connection: Session, author: Author, changes: Sequence[Change], now: datetime) -> Written:
        """Append the events of changes, project them, and put them into the outbox, under the lock.

        Raises `Violation` when the database refuses one, and a problem when one can't be written at all; in both cases
        the transaction is lost.
        """
        series = await self._begin(connection, author, now)
        events, refusals = await self._events(series, changes)
        for refusal in refusals:
            raise refusal.error
        for run in _runs(events):
            for violation in await _project(connection, run):
                raise violation
        return await _finish(connection, series, events)

    async def write_taken(
        self, connection: Session, author: Author, changes: Sequence[Change], now: datetime
    ) -> tuple[Written, list[Refusal]]:
        """Write what can be written of changes, in their order, and tell of the others why not; the transaction goes on.

        For nouns whose every law is checked at once, which are all but the group.
        """
        series = await self._begin(connection, author, now)
        # What is refused is found out beside the log, and forgotten: revisions have no gap, so the others get theirs then.
        savepoint = connection.transaction()
        await savepoint.start()
        events, refusals = await self._events(series, changes)
        for run in _runs(events):
            refusals += [Refusal(violation.changes[0], violation) for violation in await _project(connection, run)]
        if not refusals:
            written = await _finish(connection, series, events)
            await savepoint.commit()
            return written, []
        await savepoint.rollback()
        refused = {id(refusal.change) for refusal in refusals}
        taken = [change for change in changes if id(change) not in refused]
        return await self.write(connection, author, taken, now), refusals

    async def _begin(self, connection: Session, author: Author, now: datetime) -> _Series:
        first = int(await connection.fetchval(SQL["read_revision"])) + 1
        writer_id, source, epoch = await self._writer(connection, now)
        return _Series(author, now, first, writer_id, source, epoch)

    async def _events(self, series: _Series, changes: Sequence[Change]) -> tuple[list[_Event], list[Refusal]]:
        """Make the event of each change that can have one."""
        events: list[_Event] = []
        refusals: list[Refusal] = []
        moment = msgspec.to_builtins(series.now)
        for change in changes:
            revision = series.first + len(events)
            after = change.after | {"updated_at": moment, "revision": revision}
            after.setdefault("created_at", moment)
            try:
                events.append(self._event(series, change, after, revision))
            except Problem as problem:
                refusals.append(Refusal(change, problem))
            if len(events) % _SLICE == 0:
                await asyncio.sleep(0)  # this thread answers checks too
        return events, refusals

    def _event(self, series: _Series, change: Change, after: dict[str, Any], revision: int) -> _Event:
        author = series.author
        image = canonical_image(after)
        before = None if change.before is None else canonical_image(change.before)
        event_id = self._new_event_id()
        data = ChangeData(
            actor=ChangeActor(
                credential_id=author.credential_id,
                type="operator" if author.credential_id is None else "credential",
            ),
            after=Raw(image),
            before=Raw(_NULL if before is None else before),
            entity=ChangeEntity(id=after["id"], type=change.entity_type),
            reason=change.reason,
            request=ChangeRequest(
                ip=author.ip,
                request_id=author.request_id,
                trace_id=author.trace_id,
                user_agent=author.user_agent,
            ),
            revision=revision,
            space_id=after.get("space_id") or (after["id"] if change.entity_type == "space" else None),
        )
        leaf = encode_event(
            data=data,
            epoch=series.epoch,
            event_id=event_id,
            kind=change.kind,
            occurred_at=series.now,
            sequence=revision - 1,
            source=series.source,
        )
        if len(leaf) > MAX_LEAF_BYTES:
            says = f"makes an event of {len(leaf)} bytes; at most {MAX_LEAF_BYTES}"
            raise Problem(
                "validation_failed",
                f"The {change.noun.words} {after['id']} {says}.",
                errors=[ProblemError(pointer="", detail=says)],
            )
        return _Event(change, after, image, before, event_id, leaf, revision)

    async def _writer(self, connection: Session, now: datetime) -> tuple[int, str, int]:
        """Return the writer of change events; its sequence is the revision less one, so it never has a gap."""
        row = await connection.fetchrow(SQL["find_changes_writer"])
        if row is not None:
            return row["writer_id"], row["source"], row["epoch"]
        epoch = epoch_microseconds(now)
        writer_id = await connection.fetchval(SQL["register_writer"], CHANGES_SOURCE, epoch, "changes")
        return int(writer_id), CHANGES_SOURCE, epoch


def projecting(noun: Noun) -> str:
    """Return the statement that writes rows of a noun as their events left them."""
    assignments = ",\n    ".join(
        f"{column} = excluded.{column}"
        for column in (*noun.row.__struct_fields__, "created_at", "updated_at", "revision")
        if column not in noun.identity
    )
    return WRITES["project"].format(
        table=f"authz.{noun.name}", identity=", ".join(noun.identity), assignments=assignments
    )


PROJECTING: Final = {name: projecting(noun) for name, noun in NOUNS.items()}
MAKING: Final = {name: WRITES["make"].format(table=f"authz.{name}") for name in NOUNS}


async def _finish(connection: Session, series: _Series, events: Sequence[_Event]) -> Written:
    """Append the events whose rows are written, put them into the outbox, and tell those who follow."""
    last = series.first + len(events) - 1
    if not events:
        return Written([], last)
    try:
        await connection.execute(SQL["check_deferred"])
    except asyncpg.IntegrityConstraintViolationError as error:
        raise Violation(error.constraint_name or "", [event.change for event in events]) from error
    await _append(connection, series, events)
    await _send(connection, series.writer_id, events)
    await connection.fetch(SQL["notify_changes"], str(last))
    return Written([event.row for event in events], last)


async def _append(connection: Session, series: _Series, events: Sequence[_Event]) -> None:
    await connection.execute(
        WRITES["append_events"],
        series.now,
        series.author.credential_id,
        series.author.request_id,
        [e.revision for e in events],
        [e.event_id for e in events],
        [e.change.kind for e in events],
        [e.change.after.get("space_id") for e in events],
        [e.change.entity_type for e in events],
        [e.change.after["id"] for e in events],
        [None if e.before is None else e.before.decode() for e in events],
        [e.after.decode() for e in events],
        [e.change.reason for e in events],
    )


async def _project(connection: Session, run: Sequence[_Event]) -> list[Violation]:
    """Write those rows of a run that the database takes; those that it refuses are found by halving."""
    try:
        async with connection.transaction():
            await _project_at_once(connection, run)
    except Violation as violation:
        if len(run) == 1:
            return [violation]
    else:
        return []
    half = len(run) // 2
    return [*await _project(connection, run[:half]), *await _project(connection, run[half:])]


async def _project_at_once(connection: Session, run: Sequence[_Event]) -> None:
    changes = [event.change for event in run]
    noun = changes[0].entity_type
    images = "[" + ",".join(event.after.decode() for event in run) + "]"
    try:
        if changes[0].before is None:
            await connection.execute(MAKING[noun], images)
            return
        if changes[0].kind == GROUP_MOVED:
            # What was written before in this transaction was checked, and so is every row from then on, at once.
            await connection.execute(WRITES["defer_checks"])
        kept = await connection.fetch(PROJECTING[noun], images)
        if changes[0].kind == GROUP_MOVED:
            await _move_below(connection, run[0])
    except asyncpg.IntegrityConstraintViolationError as error:
        raise Violation(error.constraint_name or "", changes) from error
    new = {tuple(row[field] for field in changes[0].noun.identity) for row in kept if row["is_new"]}
    for change in changes:
        if change.identity in new:
            raise Violation("row_is_not_there", [change])


async def _move_below(connection: Session, event: _Event) -> None:
    before, after = event.change.before, event.row
    assert before is not None  # what is moved was there
    await connection.execute(
        WRITES["move_below"],
        after["space_id"],
        before["path"],
        after["path"],
        event.revision,
        msgspec.convert(after["updated_at"], datetime),
    )


async def _send(connection: Session, writer_id: int, events: Sequence[_Event]) -> None:
    compress = new_compressor()
    for run in _deliveries(events):
        leaves = b",".join(event.leaf for event in run)
        first, last = run[0].revision - 1, run[-1].revision - 1
        await connection.execute(SQL["record_events"], writer_id, first, last, None, compress(leaves), len(leaves))


def _runs(events: Sequence[_Event]) -> Iterator[Sequence[_Event]]:
    """Cut events into runs that one statement can project: of one noun, all new or none, no row twice, a move alone."""
    if not events:
        return
    start, seen = 0, set[tuple[str, ...]]()
    for index, event in enumerate(events):
        first = events[start].change
        is_alone = GROUP_MOVED in (event.change.kind, first.kind)
        if index > start and (
            is_alone
            or event.change.entity_type != first.entity_type
            or (event.change.before is None) != (first.before is None)
            or event.change.identity in seen
        ):
            yield events[start:index]
            start, seen = index, set()
        seen.add(event.change.identity)
    yield events[start:]


def _deliveries(events: Sequence[_Event]) -> Iterator[Sequence[_Event]]:
    """Cut the events of a transaction into runs that the relay can deliver, each as one row of the outbox."""
    start = size = 0
    for index, event in enumerate(events):
        if index - start == MAX_BATCH_EVENTS or size + len(event.leaf) + 1 > MAX_COMMIT_BYTES:
            yield events[start:index]
            start, size = index, 0
        size += len(event.leaf) + 1
    yield events[start:]
