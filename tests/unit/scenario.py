"""Scenarios: rows as an administrator would enter them, questions, and the answers one expects (tests/scenarios/*.yaml).

Rows carry the field names of services/authz/rows.py and hold only what the laws let a store hold, so that one file can be put to
the engine (here) and to a running service alike. What is spelled wrong in a file is refused.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import yaml

from services.authz.model import (
    ActorFacts,
    ActorIds,
    Facts,
    Grant,
    GrantedPermission,
    Group,
    Member,
    Permission,
    Question,
    RegistryFacts,
    Resource,
    ResourceAction,
    ResourceType,
    Role,
    Space,
    TargetFacts,
    User,
    UserMember,
)

SCENARIOS = Path(__file__).parents[1] / "scenarios"


class Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A row without its id, which is its key in the file."""

    status: str = "active"


class UserRow(Row, frozen=True, kw_only=True):
    """A User."""

    email: str


class SpaceRow(Row, frozen=True, kw_only=True):
    """A Space."""

    key: str
    name: str


class GroupRow(Row, frozen=True, kw_only=True):
    """A Group; its path follows from its parents."""

    space_id: str
    key: str
    name: str
    parent_group_id: str | None = None


class MemberRow(Row, frozen=True, kw_only=True):
    """A Member."""

    space_id: str
    display_name: str


class UserMemberRow(Row, frozen=True, kw_only=True):
    """A UserMember."""

    space_id: str
    user_id: str
    member_id: str
    relation_type: str
    expires_at: datetime | None = None


class ActionRow(Row, frozen=True, kw_only=True):
    """A ResourceAction."""

    risk_level: str


class ResourceTypeRow(Row, frozen=True, kw_only=True):
    """A ResourceType with its actions."""

    actions: dict[str, ActionRow]


class PermissionRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Permission."""

    resource_type: str
    action: str
    scope: str
    condition: dict[str, Any] | None = None


class RoleRow(Row, frozen=True, kw_only=True):
    """A Role with the ids of its Permissions."""

    space_id: str
    key: str
    name: str
    permissions: tuple[str, ...]


class MemberRoleRow(Row, frozen=True, kw_only=True):
    """A MemberRole: the grant."""

    space_id: str
    member_id: str
    role_id: str
    scope_anchor_group_id: str | None = None
    not_before: datetime | None = None
    expires_at: datetime | None = None


class ResourceRow(Row, frozen=True, kw_only=True):
    """A Resource."""

    space_id: str
    group_id: str | None = None
    owner_member_id: str | None = None
    properties: dict[str, Any] = {}


class Given(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All rows, each kind by id; resources by type, then id."""

    users: dict[str, UserRow]
    spaces: dict[str, SpaceRow]
    groups: dict[str, GroupRow] = {}
    members: dict[str, MemberRow]
    user_members: dict[str, UserMemberRow]
    resource_types: dict[str, ResourceTypeRow]
    permissions: dict[str, PermissionRow]
    roles: dict[str, RoleRow]
    member_roles: dict[str, MemberRoleRow]
    resources: dict[str, dict[str, ResourceRow]]


class Expected(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One candidate that must be listed; `result` is `covered` or a deny code."""

    role: str
    scope: str
    grant: str
    anchor: str | None = None
    result: str


class Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A question, its answer (`allow` or a deny code), and the candidates in their order."""

    it: str
    actor: ActorIds
    action: str
    resource_type: str
    resource_id: str
    answer: str
    candidates: tuple[Expected, ...]
    now: datetime | None = None

    @property
    def question(self) -> Question:
        """The question as the engine takes it."""
        return Question(
            action=self.action, actor=self.actor, resource_id=self.resource_id, resource_type=self.resource_type
        )


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of tests/scenarios."""

    about: str
    now: datetime
    actors: dict[str, ActorIds]
    given: Given
    asked: tuple[Asked, ...]

    def facts(self, question: Question) -> Facts:
        """What a store holding the given rows knows that bears on the question."""
        given, ids = self.given, question.actor
        resource = given.resources.get(question.resource_type, {}).get(question.resource_id)
        return Facts(
            actor=ActorFacts(
                member=_made(Member, ids.member_id, given.members),
                space=_made(Space, ids.space_id, given.spaces),
                user=_made(User, ids.user_id, given.users),
                user_member=_made(UserMember, ids.user_member_id, given.user_members),
            ),
            granted=tuple(
                GrantedPermission(
                    anchor=self.group(held.scope_anchor_group_id),
                    grant=_made(Grant, grant_id, given.member_roles),
                    permission=_made(Permission, permission_id, given.permissions),
                    role=_made(Role, held.role_id, given.roles),
                )
                for grant_id, held in given.member_roles.items()
                if held.member_id == ids.member_id
                for permission_id in given.roles[held.role_id].permissions
            ),
            registry=self._registry(question),
            target=TargetFacts(
                group=self.group(resource.group_id) if resource else None,
                resource=Resource(
                    external_id=None,
                    id=question.resource_id,
                    type=question.resource_type,
                    **msgspec.structs.asdict(resource),
                )
                if resource
                else None,
            ),
        )

    def group(self, group_id: str | None) -> Group | None:
        """The group with its path from the root."""
        if group_id is None:
            return None
        row = self.given.groups[group_id]
        parent = self.group(row.parent_group_id)
        path = f"{parent.path}.{row.key}" if parent else row.key
        return Group(id=group_id, path=path, space_id=row.space_id, status=row.status)

    def _registry(self, question: Question) -> RegistryFacts:
        registered = self.given.resource_types.get(question.resource_type)
        action = registered.actions.get(question.action) if registered else None
        return RegistryFacts(
            action=ResourceAction(key=question.action, risk_level=action.risk_level, status=action.status)
            if action
            else None,
            resource_type=ResourceType(key=question.resource_type, status=registered.status) if registered else None,
        )


def _made(kind: Any, id_: str, rows: dict[str, Any]) -> Any:
    """The fact of this kind with the fields of its row, or None where there is no such row."""
    if id_ not in rows:
        return None
    row = rows[id_]
    return kind(id=id_, **{name: getattr(row, name) for name in kind.__struct_fields__ if name != "id"})


def read_scenario(path: Path) -> Scenario:
    """Read one file; an actor may be given by its name in `actors`."""
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    for asked in document["asked"]:
        asked["actor"] = document["actors"][asked["actor"]]
    return msgspec.convert(document, Scenario)


def all_scenarios() -> dict[str, Scenario]:
    """Every scenario by the name of its file."""
    return {path.stem: read_scenario(path) for path in sorted(SCENARIOS.glob("*.yaml"))}
