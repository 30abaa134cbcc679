"""Administrative changes: each is an event, its projection and its place in the outbox, in one transaction.

The event is what happened; the projection is what it left behind, and can be made again from the events alone. A command
that fails or is refused writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg
import msgspec

from services.authz.outbox import MAX_COMMIT_BYTES
from services.authz.rows import (
    GroupRow,
    MemberRoleRow,
    MemberRow,
    PermissionRow,
    ResourceActionRow,
    ResourceRow,
    ResourceTypeRow,
    RolePermissionRow,
    RoleRow,
    Row,
    SpaceRow,
    UserMemberRow,
    UserRow,
)
from services.authz.store import SQL
from shared.canonical import canonical_json
from shared.clock import Clock, epoch_microseconds
from shared.compression import new_compressor
from shared.db import Pool, Session
from shared.envelope import MAX_BATCH_EVENTS, MAX_LEAF_BYTES, encode_event
from shared.problems import Problem

# The entity of each row, and the kind of the event that makes one.
CREATED: Final[dict[type[Row], tuple[str, str]]] = {
    UserRow: ("user", "user.created"),
    SpaceRow: ("space", "space.created"),
    GroupRow: ("group", "group.created"),
    MemberRow: ("member", "member.created"),
    UserMemberRow: ("user_member", "user_member.bound"),
    ResourceTypeRow: ("resource_type", "resource_type.registered"),
    ResourceActionRow: ("resource_action", "resource_action.registered"),
    RoleRow: ("role", "role.created"),
    PermissionRow: ("permission", "permission.created"),
    RolePermissionRow: ("role_permission", "role_permission.added"),
    MemberRoleRow: ("member_role", "member_role.granted"),
    ResourceRow: ("resource", "resource.registered"),
}
CHANGES_SOURCE: Final = "authz.changes"


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


class Commands:
    """The one way to change the permission graph."""

    def __init__(self, pool: Pool, *, clock: Clock, new_event_id: Callable[[], str]) -> None:
        self._pool = pool
        self._clock = clock
        self._new_event_id = new_event_id

    async def create(self, author: Author, rows: Sequence[Row]) -> int:
        """Make rows, in the order given, all or none; returns the revision of the last."""
        changes = []
        for row in rows:
            entity_type, kind = CREATED[type(row)]
            changes.append(Change(after=_image(row), before=None, entity_type=entity_type, kind=kind))
        async with self._pool.acquire() as connection, connection.transaction():
            return await self._commit(connection, author, changes)

    async def revoke_user_member(self, author: Author, user_member_id: str, reason: str) -> int:
        """End a binding, with the reason; returns the revision."""
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.fetch(SQL["lock_events"])
            stored = await connection.fetchval(SQL["read_user_member"], user_member_id)
            if stored is None:
                raise Problem("not_found", f"There is no binding {user_member_id}.")
            before: dict[str, Any] = msgspec.json.decode(stored)
            if before["status"] == "revoked":
                raise Problem("conflict", f"The binding {user_member_id} is revoked already.")
            revoked_at = msgspec.to_builtins(self._clock())
            after = before | {"status": "revoked", "revoked_at": revoked_at, "revoked_reason": reason}
            change = Change(
                after=after, before=before, entity_type="user_member", kind="user_member.revoked", reason=reason
            )
            return await self._commit(connection, author, [change])

    async def _commit(self, connection: Session, author: Author, changes: Sequence[Change]) -> int:
        """Write events, projections and outbox; the caller's transaction makes them one."""
        await connection.fetch(SQL["lock_events"])
        first = int(await connection.fetchval(SQL["read_revision"])) + 1
        now = self._clock()
        writer_id, source, epoch = await self._writer(connection, now)
        stamp = msgspec.to_builtins(now)
        events = []
        for revision, change in enumerate(changes, start=first):
            after = change.after | {"updated_at": stamp, "revision": revision}
            after.setdefault("created_at", stamp)
            event_id = self._new_event_id()
            await self._write(connection, author, change, after, event_id, revision, now)
            event = encode_event(
                data=msgspec.Raw(canonical_json(_data(author, change, after, revision))),
                epoch=epoch,
                event_id=event_id,
                kind=change.kind,
                occurred_at=now,
                sequence=revision - 1,
                source=source,
            )
            if len(event) > MAX_LEAF_BYTES:
                raise Problem(
                    "validation_failed",
                    f"{change.entity_type} {after['id']} makes an event of {len(event)} bytes; at most {MAX_LEAF_BYTES}.",
                )
            events.append(event)
        try:
            await connection.execute(SQL["check_deferred"])
        except asyncpg.IntegrityConstraintViolationError as error:
            raise Problem("conflict", f"This breaks the rule {error.constraint_name}: {error}.") from error
        last = first + len(changes) - 1
        compress = new_compressor()
        for start, stop in _deliveries(events):
            run = b",".join(events[start:stop])
            await connection.execute(
                SQL["record_events"], writer_id, first - 1 + start, first - 2 + stop, None, compress(run), len(run)
            )
        await connection.fetch(SQL["notify_changes"], str(last))
        return last

    async def _write(
        self,
        connection: Session,
        author: Author,
        change: Change,
        after: dict[str, Any],
        event_id: str,
        revision: int,
        now: datetime,
    ) -> None:
        image = canonical_json(after).decode()
        await connection.execute(
            SQL["append_event"],
            revision,
            event_id,
            now,
            change.kind,
            after.get("space_id"),
            change.entity_type,
            after["id"],
            None if change.before is None else canonical_json(change.before).decode(),
            image,
            author.credential_id,
            author.request_id,
            change.reason,
        )
        try:
            is_new = await connection.fetchval(SQL[f"project_{change.entity_type}"], image)
        except asyncpg.IntegrityConstraintViolationError as error:
            raise Problem(
                "conflict",
                f"{change.entity_type} {after['id']} breaks the rule {error.constraint_name}: {error}.",
            ) from error
        if is_new != (change.before is None):
            raise Problem("conflict", f"There is {'no' if is_new else 'already a'} {change.entity_type} {after['id']}.")

    async def _writer(self, connection: Session, now: datetime) -> tuple[int, str, int]:
        """Return the writer of change events; its sequence is the revision less one, so it never has a gap."""
        row = await connection.fetchrow(SQL["find_changes_writer"])
        if row is not None:
            return row["writer_id"], row["source"], row["epoch"]
        epoch = epoch_microseconds(now)
        return (
            int(await connection.fetchval(SQL["register_writer"], CHANGES_SOURCE, epoch, "changes")),
            CHANGES_SOURCE,
            epoch,
        )


def _image(row: Row) -> dict[str, Any]:
    """Write a row as plain JSON values, every time in UTC."""
    values = msgspec.structs.asdict(row)
    return {
        name: msgspec.to_builtins(value.astimezone(UTC) if isinstance(value, datetime) else value)
        for name, value in values.items()
    }


def _deliveries(events: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    """Cut the events of a transaction into runs (start, stop) that the relay can deliver, each as one row."""
    start = size = 0
    for index, event in enumerate(events):
        if index - start == MAX_BATCH_EVENTS or size + len(event) + 1 > MAX_COMMIT_BYTES:
            yield start, index
            start, size = index, 0
        size += len(event) + 1
    if events:
        yield start, len(events)


def _data(author: Author, change: Change, after: dict[str, Any], revision: int) -> dict[str, Any]:
    return {
        "actor": {
            "credential_id": author.credential_id,
            "type": "operator" if author.credential_id is None else "credential",
        },
        "after": after,
        "before": change.before,
        "entity": {"id": after["id"], "type": change.entity_type},
        "reason": change.reason,
        "request": {
            "ip": author.ip,
            "request_id": author.request_id,
            "trace_id": author.trace_id,
            "user_agent": author.user_agent,
        },
        "revision": revision,
        "space_id": after.get("space_id") or (after["id"] if change.entity_type == "space" else None),
    }
