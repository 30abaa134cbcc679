"""The nouns of the permission graph as they are stored: what a command makes, an event carries and a projection holds.

Every row also has metadata, timestamps and the revision of its last event; the command path adds those.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from shared.identifiers import Id

# The forms that a request is held to, so that a fault is told with its place; the database states the same as constraints.
_LEGIBLE = r"^[^\x00-\x1f\x7f]*\Z"
Name = Annotated[str, Meta(min_length=1, max_length=256, pattern=_LEGIBLE)]
Word = Annotated[str, Meta(min_length=1, max_length=64, pattern=_LEGIBLE)]
Prose = Annotated[str, Meta(max_length=2_000, pattern=r"^[^\x00]*\Z")]
Email = Annotated[str, Meta(max_length=320, pattern=r"^[^\s@\x00-\x1f\x7f]+@[^\s@\x00-\x1f\x7f]+\Z")]
SpaceKey = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_-]{0,62}\Z")]
GroupKey = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,62}\Z")]
DottedKey = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_.-]{0,62}\Z")]
Moment = Annotated[datetime, Meta(tz=True)]
# Free text to the reader of a request: the database refuses every other word, `global` with a problem of its own.
Scope = Annotated[str, Meta(max_length=64, extra_json_schema={"enum": ["self", "group", "group_tree", "space"]})]
RiskLevel = Literal["low", "normal", "high", "critical"]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A noun of the permission graph; `space_id` is None for those that belong to the instance."""

    id: Id
    status: str = "active"
    metadata: dict[str, Any] = {}


class UserRow(Row, frozen=True, kw_only=True):
    """A login account and audit subject; it never holds permissions."""

    email: Email
    display_name: Name | None = None


class SpaceRow(Row, frozen=True, kw_only=True):
    """A tenant boundary."""

    key: SpaceKey
    name: Name


class GroupRow(Row, frozen=True, kw_only=True):
    """A node of a Space's tree; `path` is its parent's path, a dot, and its key."""

    space_id: Id
    parent_group_id: Id | None = None
    key: GroupKey
    name: Name
    path: str


class MemberRow(Row, frozen=True, kw_only=True):
    """A business identity in a Space."""

    space_id: Id
    display_name: Name
    member_type: Word = "person"


class UserMemberRow(Row, frozen=True, kw_only=True):
    """The binding of a User to a Member."""

    space_id: Id
    user_id: Id
    member_id: Id
    relation_type: Name = "assigned"
    is_primary: bool = False
    expires_at: Moment | None = None
    revoked_at: Moment | None = None
    revoked_reason: str | None = None


class ResourceTypeRow(Row, frozen=True, kw_only=True):
    """A kind of resource in the Resource Registry."""

    key: DottedKey
    display_name: Name
    description: Prose | None = None


class ResourceActionRow(Row, frozen=True, kw_only=True):
    """An action of a resource type."""

    resource_type: DottedKey
    key: DottedKey
    display_name: Name
    risk_level: RiskLevel


class RoleRow(Row, frozen=True, kw_only=True):
    """A named set of permissions in a Space."""

    space_id: Id
    key: DottedKey
    name: Name
    description: Prose | None = None


class PermissionRow(Row, frozen=True, kw_only=True):
    """One action on one resource type within one scope."""

    resource_type: DottedKey
    action: DottedKey
    scope: Scope
    condition: dict[str, Any] | None = None


class RolePermissionRow(Row, frozen=True, kw_only=True):
    """A permission that a role holds."""

    space_id: Id
    role_id: Id
    permission_id: Id


class MemberRoleRow(Row, frozen=True, kw_only=True):
    """The grant of a role to a member, perhaps anchored at a group and limited in time."""

    space_id: Id
    member_id: Id
    role_id: Id
    scope_anchor_group_id: Id | None = None
    not_before: Moment | None = None
    expires_at: Moment | None = None
    revoked_at: Moment | None = None
    revoked_reason: str | None = None


class ResourceRow(Row, frozen=True, kw_only=True):
    """The mirror of an object that a calling service owns."""

    resource_type: DottedKey
    space_id: Id
    external_id: Name | None = None
    group_id: Id | None = None
    owner_member_id: Id | None = None
    display_name: Name | None = None
    properties: dict[str, Any] = {}
