"""Reads facts from authz's database: one statement per kind of fact, many keys at once, each with its revision.

A statement sees one snapshot, and returns the revision of that snapshot beside the facts: what was true as of when is
never guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import msgspec

from services.authz.model import (
    ActorIds,
    Grant,
    Group,
    Member,
    Permission,
    Resource,
    ResourceAction,
    ResourceType,
    Role,
    Space,
    User,
    UserMember,
)
from shared.credentials import Credential
from shared.db import Session, load_queries

SQL: Final = load_queries(Path(__file__).with_name("queries.sql"))

T = TypeVar("T")
ResourceKey = tuple[str, str]


class AsOf(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """A value and the revision of the snapshot that it was read from."""

    value: T
    revision: int


class AnchoredGrant(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A grant as stored: which role, and the anchor if there is one."""

    anchor: Group | None
    grant: Grant
    role_id: str


class StoredActor(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the database knows of an actor, and the active grants of its member."""

    grants: tuple[AnchoredGrant, ...]
    member: Member | None
    space: Space | None
    user: User | None
    user_member: UserMember | None


class StoredRole(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A role and the permissions that it actively holds."""

    permissions: tuple[Permission, ...]
    role: Role


class StoredResource(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A resource and its group, as far as they exist."""

    group: Group | None
    resource: Resource | None


class RegisteredType(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A resource type and its actions by key."""

    actions: dict[str, ResourceAction]
    resource_type: ResourceType


Registry = dict[str, RegisteredType]


class ChangedRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one event of the log touched."""

    entity_id: str
    entity_type: str
    member_id: str | None
    resource_type: str | None
    revision: int
    space_id: str | None


_ACTOR: Final = msgspec.json.Decoder(StoredActor)
_ROLE: Final = msgspec.json.Decoder(StoredRole)
_RESOURCE: Final = msgspec.json.Decoder(StoredResource)
_REGISTRY: Final = msgspec.json.Decoder(Registry)


async def load_actors(connection: Session, keys: Sequence[ActorIds]) -> dict[ActorIds, AsOf[StoredActor]]:
    """Return every actor asked for; what doesn't exist is None within."""
    rows = await connection.fetch(
        SQL["load_actors"],
        [k.user_id for k in keys],
        [k.space_id for k in keys],
        [k.member_id for k in keys],
        [k.user_member_id for k in keys],
    )
    return {
        ActorIds(
            user_id=row["user_id"],
            space_id=row["space_id"],
            member_id=row["member_id"],
            user_member_id=row["user_member_id"],
        ): AsOf(_ACTOR.decode(row["facts"]), row["revision"])
        for row in rows
    }


async def load_roles(connection: Session, keys: Sequence[str]) -> dict[str, AsOf[StoredRole]]:
    """Return the roles asked for that exist."""
    rows = await connection.fetch(SQL["load_roles"], list(keys))
    return {row["role_id"]: AsOf(_ROLE.decode(row["facts"]), row["revision"]) for row in rows}


async def load_resources(connection: Session, keys: Sequence[ResourceKey]) -> dict[ResourceKey, AsOf[StoredResource]]:
    """Return every resource asked for, by (type, id); what doesn't exist is None within."""
    rows = await connection.fetch(SQL["load_resources"], [k[0] for k in keys], [k[1] for k in keys])
    return {(row["resource_type"], row["id"]): AsOf(_RESOURCE.decode(row["facts"]), row["revision"]) for row in rows}


async def load_registry(connection: Session) -> AsOf[Registry]:
    """Return the whole Resource Registry."""
    row = await connection.fetchrow(SQL["load_registry"])
    assert row is not None  # the statement returns one row always
    return AsOf(_REGISTRY.decode(row["facts"]), row["revision"])


async def read_revision(connection: Session) -> int:
    """Return the revision of the last event."""
    return int(await connection.fetchval(SQL["read_revision"]))


async def read_changes_after(connection: Session, revision: int, limit: int) -> list[ChangedRow]:
    """Return what the next events touched, oldest first."""
    rows = await connection.fetch(SQL["read_changes_after"], revision, limit)
    return [ChangedRow(**dict(row)) for row in rows]


async def find_credential(connection: Session, credential_id: str) -> Credential | None:
    """Return one API key, or None."""
    row = await connection.fetchrow(SQL["find_credential"], credential_id)
    return None if row is None else credential_from(row)


def credential_from(row: Any) -> Credential:
    """Make a Credential of its row."""
    return Credential(
        credential_id=row["credential_id"],
        expires_at=row["expires_at"],
        name=row["name"],
        permission_keys=frozenset(row["permission_keys"]),
        secret_hash=row["secret_hash"],
        status=row["status"],
    )
