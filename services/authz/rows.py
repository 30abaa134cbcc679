"""The nouns of the permission graph as they are stored: what a command makes, an event carries and a projection holds.

Every row also has metadata, timestamps and the revision of its last event; the command path adds those.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

from shared.identifiers import Id


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A noun of the permission graph; `space_id` is None for those that belong to the instance."""

    id: Id
    status: str = "active"
    metadata: dict[str, Any] = {}


class UserRow(Row, frozen=True, kw_only=True):
    """A login account and audit subject; it never holds permissions."""

    email: str
    display_name: str | None = None


class SpaceRow(Row, frozen=True, kw_only=True):
    """A tenant boundary."""

    key: str
    name: str


class GroupRow(Row, frozen=True, kw_only=True):
    """A node of a Space's tree; `path` is its parent's path, a dot, and its key."""

    space_id: Id
    parent_group_id: Id | None = None
    key: str
    name: str
    path: str


class MemberRow(Row, frozen=True, kw_only=True):
    """A business identity in a Space."""

    space_id: Id
    display_name: str
    member_type: str = "person"


class UserMemberRow(Row, frozen=True, kw_only=True):
    """The binding of a User to a Member."""

    space_id: Id
    user_id: Id
    member_id: Id
    relation_type: str = "assigned"
    is_primary: bool = False
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    revoked_reason: str | None = None


class ResourceTypeRow(Row, frozen=True, kw_only=True):
    """A kind of resource in the Resource Registry."""

    key: str
    display_name: str
    description: str | None = None


class ResourceActionRow(Row, frozen=True, kw_only=True):
    """An action of a resource type."""

    resource_type: str
    key: str
    display_name: str
    risk_level: Literal["low", "normal", "high", "critical"]


class RoleRow(Row, frozen=True, kw_only=True):
    """A named set of permissions in a Space."""

    space_id: Id
    key: str
    name: str
    description: str | None = None


class PermissionRow(Row, frozen=True, kw_only=True):
    """One action on one resource type within one scope."""

    resource_type: str
    action: str
    scope: Literal["self", "group", "group_tree", "space"]
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
    not_before: datetime | None = None
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    revoked_reason: str | None = None


class ResourceRow(Row, frozen=True, kw_only=True):
    """The mirror of an object that a calling service owns."""

    resource_type: str
    space_id: Id
    external_id: str | None = None
    group_id: Id | None = None
    owner_member_id: Id | None = None
    display_name: str | None = None
    properties: dict[str, Any] = {}
