"""Administrative commands: what may be done to the nouns of the permission graph, each in one transaction.

A command reads what it changes under the journal's lock, so two of them never work from the same past. One that fails or
is refused writes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import asyncpg
import msgspec

from services.authz.directory import PATIENCE_SECONDS, Place, demand_space, plain, read_row
from services.authz.idempotency import Once, find_answer, keep_answer
from services.authz.images import image_of, is_same, plain_values
from services.authz.journal import GROUP_MOVED, Author, Change, Journal, Refusal, Violation, Written
from services.authz.laws import problem_of
from services.authz.nouns import NOUNS, OF_ROW, Noun
from services.authz.rows import Row
from services.authz.store import SQL
from shared.clock import Clock
from shared.db import DATABASE_ERRORS, Pool, Session
from shared.problems import Problem, problem_at, retry_later

# Plans are kept, unlike those of lists: a foreign key asks once for each row.
COMMAND_PARAMETERS: Final = {"statement_timeout": "15s"}
# How long a command waits for those before it.
TURN_SECONDS: Final = 15.0
# How long it may take itself; those behind it wait, in every process.
WORK_SECONDS: Final = 60.0
_DATED: Final = frozenset({"member_role", "user_member"})

Work = Callable[[Session, datetime], Awaitable["Outcome"]]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a command is answered with: the row (or report) as it is now, and the revision that was made.

    `is_new` tells whether a row was made; `is_repeated` that the answer is that of an earlier request with the same key.
    """

    data: dict[str, Any]
    revision: int
    is_new: bool = False
    is_repeated: bool = False


class Commands:
    """The one way to change the permission graph."""

    def __init__(self, pool: Pool, *, clock: Clock, new_event_id: Callable[[], str]) -> None:
        self._pool = pool
        self._journal = Journal(clock=clock, new_event_id=new_event_id)
        # Commands of one process wait for each other here and not at the database: one that waits there holds a session,
        # and a few of them would hold all, so that nobody could read.
        self._turn = asyncio.Lock()

    async def create(self, author: Author, rows: Sequence[Row]) -> int:
        """Make rows, in the order given, all or none; returns the revision of the last."""
        changes = [making(OF_ROW[type(row)], image_of(row), None) for row in rows]

        async def work(connection: Session, now: datetime) -> Outcome:
            written = await self._journal.write(connection, author, changes, now)
            return Outcome(data={}, revision=written.revision)

        return (await self.run(work)).revision

    async def make(
        self, author: Author, noun: Noun, values: dict[str, Any], *, reason: str | None, once: Once | None = None
    ) -> Outcome:
        """Make one row of the values that a request gives; a grant that was revoked is granted again."""

        async def work(connection: Session, now: datetime) -> Outcome:
            if noun.in_space:
                await demand_space(connection, values["space_id"])
            refuse_expired(noun, values, now)
            row = dict(values)
            if noun.name == "group":
                row["path"] = await _path_below(connection, row, row["parent_group_id"])
            image = image_of(noun.row(**row))
            before = await _revoked_grant(connection, noun, image)
            if before is not None:
                image |= {"id": before["id"], "created_at": before["created_at"]}
            return await self._write_one(connection, author, making(noun, image, reason, before), now)

        return await self.run(work, once)

    async def update(
        self,
        author: Author,
        place: Place,
        values: dict[str, Any],
        *,
        reason: str | None,
        if_match: str | None = None,
        once: Once | None = None,
    ) -> Outcome:
        """Change some fields of a row; when they are what they are already, nothing is written."""

        async def work(connection: Session, now: datetime) -> Outcome:
            before = await read_row(connection, place, if_match)
            if before["status"] == "revoked":
                raise _in_status(place, "revoked", "what is revoked is not changed; make a new one")
            refuse_expired(place.noun, values, now)
            after = before | plain_values(values)
            if is_same(after, before):
                return Outcome(data=before, revision=before["revision"])
            change = _changing(place.noun, "updated", before, after, reason)
            return await self._write_one(connection, author, change, now)

        return await self.run(work, once)

    async def end(
        self,
        author: Author,
        place: Place,
        *,
        reason: str | None,
        if_match: str | None = None,
        once: Once | None = None,
    ) -> Outcome:
        """Let a row count no more: disable, revoke or archive it, as its noun has it."""
        ending = place.noun.ending

        async def work(connection: Session, now: datetime) -> Outcome:
            before = await read_row(connection, place, if_match)
            if before["status"] == ending.status:
                raise _in_status(place, ending.status, "nothing was changed")
            after = before | {"status": ending.status}
            if place.noun.name in _DATED:
                after |= {"revoked_at": msgspec.to_builtins(now), "revoked_reason": reason}
            change = _changing(place.noun, ending.status, before, after, reason)
            return await self._write_one(connection, author, change, now)

        return await self.run(work, once)

    async def restore(
        self,
        author: Author,
        place: Place,
        *,
        reason: str | None,
        if_match: str | None = None,
        once: Once | None = None,
    ) -> Outcome:
        """Let a row count again that was disabled or archived."""

        async def work(connection: Session, now: datetime) -> Outcome:
            before = await read_row(connection, place, if_match)
            if before["status"] == "active":
                raise _in_status(place, "active", "nothing was changed")
            change = _changing(place.noun, "restored", before, before | {"status": "active"}, reason)
            return await self._write_one(connection, author, change, now)

        return await self.run(work, once)

    async def move(
        self,
        author: Author,
        place: Place,
        values: dict[str, Any],
        *,
        reason: str | None,
        if_match: str | None = None,
        once: Once | None = None,
    ) -> Outcome:
        """Put a group with all below it under another parent, or under another key; one event, and the paths follow."""

        async def work(connection: Session, now: datetime) -> Outcome:
            before = await read_row(connection, place, if_match)
            after = before | values
            after["path"] = await _path_below(connection, after, after["parent_group_id"])
            if f"{after['path']}.".startswith(f"{before['path']}.") and after["path"] != before["path"]:
                raise problem_at(
                    "group_cycle", "/parent_group_id", f"{after['parent_group_id']!r} lies at or below the group"
                )
            if after == before:
                return Outcome(data=before, revision=before["revision"])
            change = Change(after=after, before=before, entity_type="group", kind=GROUP_MOVED, reason=reason)
            return await self._write_one(connection, author, change, now)

        return await self.run(work, once)

    async def write(
        self, connection: Session, author: Author, changes: Sequence[Change], now: datetime
    ) -> tuple[list[dict[str, Any]], int]:
        """Write changes within the transaction of `run`; returns the rows as they are now, and the revision."""
        written = await self._journal.write(connection, author, changes, now)
        return written.rows, written.revision

    async def write_taken(
        self, connection: Session, author: Author, changes: Sequence[Change], now: datetime
    ) -> tuple[Written, list[Refusal]]:
        """Write what can be written of changes within the transaction of `run`, and tell of the others why not."""
        return await self._journal.write_taken(connection, author, changes, now)

    async def run(self, work: Work, once: Once | None = None) -> Outcome:
        """Do work alone, in one transaction; with a key, the same request is answered as it was the first time."""
        try:
            try:
                return await self._run_alone(work, once)
            except Violation as violation:
                async with self._pool.acquire(timeout=PATIENCE_SECONDS) as connection:
                    raise await problem_of(connection, violation) from violation
        except asyncpg.DataError:
            raise  # a value that no check of ours has found: a fault of this service, not of the database
        except DATABASE_ERRORS as error:
            raise retry_later(
                "database_unavailable",
                "The change could not be written, or it isn't known whether it was; ask again with the same Idempotency-Key.",
                log_detail=repr(error),
            ) from error

    async def _run_alone(self, work: Work, once: Once | None) -> Outcome:
        async with asyncio.timeout(TURN_SECONDS):
            await self._turn.acquire()
        try:
            async with (
                asyncio.timeout(WORK_SECONDS),
                self._pool.acquire(timeout=PATIENCE_SECONDS) as connection,
                connection.transaction(),
            ):
                now = await self._journal.lock(connection)
                if once is not None:
                    earlier = await find_answer(connection, once, now)
                    if earlier is not None:
                        return Outcome(**earlier, is_repeated=True)
                outcome = await work(connection, now)
                if once is not None:
                    await keep_answer(connection, once, msgspec.to_builtins(outcome), now)
                return outcome
        finally:
            self._turn.release()

    async def _write_one(self, connection: Session, author: Author, change: Change, now: datetime) -> Outcome:
        (row,), revision = await self.write(connection, author, [change], now)
        return Outcome(data=row, revision=revision, is_new=change.before is None)


def making(noun: Noun, image: dict[str, Any], reason: str | None, before: dict[str, Any] | None = None) -> Change:
    """Describe the making of a row; `before` is that of a revoked one that comes to be again."""
    return Change(after=image, before=before, entity_type=noun.name, kind=noun.kind(noun.made), reason=reason)


def _changing(noun: Noun, verb: str, before: dict[str, Any], after: dict[str, Any], reason: str | None) -> Change:
    return Change(after=after, before=before, entity_type=noun.name, kind=noun.kind(verb), reason=reason)


async def _path_below(connection: Session, group: dict[str, Any], parent_id: str | None) -> str:
    """Return the path of a group under its parent; without such a parent there is none to tell."""
    if parent_id is None:
        return str(group["key"])
    path = await connection.fetchval(SQL["find_group_path"], group["space_id"], parent_id)
    if path is None:
        change = Change(after=group, before=None, entity_type="group", kind=NOUNS["group"].kind("created"))
        raise Violation("group_parent_same_space", [change])
    return f"{path}.{group['key']}"


async def _revoked_grant(connection: Session, noun: Noun, image: dict[str, Any]) -> dict[str, Any] | None:
    """Return the revoked grant of the same role, member and anchor, which alone can be granted again."""
    if noun.name != "member_role":
        return None
    grant = [[image[field]] for field in ("space_id", "member_id", "role_id", "scope_anchor_group_id")]
    found = await connection.fetchval(SQL["find_revoked_grants"], *grant)
    return None if found is None else plain(noun, found)


def refuse_expired(noun: Noun, values: Mapping[str, Any], now: datetime) -> None:
    """Raise a 422 problem for a grant or binding that is over before it begins."""
    expires_at = values.get("expires_at")
    if noun.name in _DATED and expires_at is not None and expires_at < now:
        raise problem_at(
            "expires_in_the_past",
            "/expires_at",
            f"{expires_at.isoformat()} is over already; give a later time, or none",
        )


def _in_status(place: Place, status: str, what: str) -> Problem:
    return Problem("status_conflict", f"The {place.noun.words} {place.id} is {status} already; {what}.")


def given_values(form: Any, names: Iterable[str]) -> dict[str, Any]:
    """Return what a request's form gives of these fields; what it leaves out is not among them."""
    values = {name: getattr(form, name) for name in names}
    return {name: value for name, value in values.items() if value is not msgspec.UNSET}
