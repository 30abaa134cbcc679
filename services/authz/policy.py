"""A whole Space declared in one document, as it is kept in git: its form, its contradictions, and that of a Space: pure.

Groups are told by path (or by id, and then moved to the path), roles by key, members by id, permissions by what they
allow, grants by member, role and anchor. What is there and not declared is disabled or revoked; what was, and is declared
again, is restored. Metadata is no part of the document and stays as it is, and so does what counts for nothing: a grant
whose member or role is disabled, a permission of a role of which one is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta

from services.authz.rows import DottedKey, Moment, Name, Prose, Scope, Word
from shared.identifiers import Id
from shared.problems import Problem, ProblemError

GroupPath = Annotated[str, Meta(max_length=16_384, pattern=r"^[a-z][a-z0-9_]{0,62}(\.[a-z][a-z0-9_]{0,62})*\Z")]
MAX_ENTRIES: Final = 100_000

Rows = dict[str, dict[str, Any]]


class Declared(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A part of a policy; unknown fields are refused."""


class DeclaredGroup(Declared, frozen=True, kw_only=True):
    """A group; one that is named by `id` too is moved when its path is another. `name` is its key unless given.

    A disabled one is declared when something hangs on it: a group below it that isn't disabled, or the anchor of a grant.
    """

    path: GroupPath
    id: Id | None = None
    name: Name | None = None
    status: Literal["active", "disabled"] = "active"


class DeclaredPermission(Declared, frozen=True, kw_only=True):
    """A permission of a role; it is made for the instance when there is none like it."""

    resource_type: DottedKey
    action: DottedKey
    scope: Scope
    condition: dict[str, Any] | None = None


class DeclaredRole(Declared, frozen=True, kw_only=True):
    """A role and all the permissions that it holds."""

    key: DottedKey
    name: Name
    description: Prose | None = None
    permissions: tuple[DeclaredPermission, ...] = ()


class DeclaredMember(Declared, frozen=True, kw_only=True):
    """A member."""

    id: Id
    display_name: Name
    member_type: Word = "person"


class DeclaredGrant(Declared, frozen=True, kw_only=True):
    """The grant of a role, by its key, to a member, by its id; anchored at a group, by its path."""

    member: Id
    role: DottedKey
    anchor: GroupPath | None = None
    not_before: Moment | None = None
    expires_at: Moment | None = None


class Policy(Declared, frozen=True, kw_only=True):
    """All groups, roles, members and grants of a Space; `space_id` lets a file say of which one it is."""

    version: Literal[1]
    space_id: Id | None = None
    groups: Annotated[tuple[DeclaredGroup, ...], Meta(max_length=MAX_ENTRIES)]
    roles: Annotated[tuple[DeclaredRole, ...], Meta(max_length=MAX_ENTRIES)]
    members: Annotated[tuple[DeclaredMember, ...], Meta(max_length=MAX_ENTRIES)]
    grants: Annotated[tuple[DeclaredGrant, ...], Meta(max_length=MAX_ENTRIES)]


class SpaceState(NamedTuple):
    """The rows of a Space by id, whatever their status, and all permissions of the instance."""

    space_id: str
    group: Rows
    role: Rows
    member: Rows
    member_role: Rows
    role_permission: Rows
    permission: Rows


def refuse_contradictions(policy: Policy, space_id: str) -> None:
    """Raise a 400 problem that names every entry that is declared twice or needs one that isn't declared."""
    faults: list[ProblemError] = []
    if policy.space_id not in {None, space_id}:
        faults.append(ProblemError(pointer="/space_id", detail=f"is not {space_id}, which the policy is put to"))

    def once(part: str, keys: Sequence[Any]) -> set[Any]:
        seen: set[Any] = set()
        for index, key in enumerate(keys):
            if key in seen:
                faults.append(ProblemError(pointer=f"/{part}/{index}", detail="is declared twice"))
            seen.add(key)
        return seen

    paths = once("groups", [group.path for group in policy.groups])
    once("groups", [group.id or f"\x00{index}" for index, group in enumerate(policy.groups)])
    roles = once("roles", [role.key for role in policy.roles])
    members = once("members", [member.id for member in policy.members])
    once("grants", [(grant.member, grant.role, grant.anchor) for grant in policy.grants])
    for index, role in enumerate(policy.roles):
        once(f"roles/{index}/permissions", [meaning_of(p) for p in role.permissions])
    for index, group in enumerate(policy.groups):
        parent = group.path.rpartition(".")[0]
        if parent and parent not in paths:
            faults.append(ProblemError(pointer=f"/groups/{index}/path", detail=f"its parent {parent} is not declared"))
    for index, grant in enumerate(policy.grants):
        for field, known in (("member", members), ("role", roles), ("anchor", paths)):
            value = getattr(grant, field)
            if value is not None and value not in known:
                faults.append(ProblemError(pointer=f"/grants/{index}/{field}", detail=f"{value} is not declared"))
    if faults:
        shown = "; ".join(f"{fault.pointer}: {fault.detail}" for fault in faults[:5])
        more = f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise Problem("validation_failed", f"{shown}{more}.", errors=faults[:100])


def policy_of(state: SpaceState) -> Policy:
    """Return the document that declares a Space as it is: what is active, in a stable order."""
    roles = {id_: row for id_, row in state.role.items() if is_active(row)}
    members = {id_: row for id_, row in state.member.items() if is_active(row)}
    held: dict[str, list[DeclaredPermission]] = {id_: [] for id_ in roles}
    for row in state.role_permission.values():
        permission = state.permission[row["permission_id"]]
        if is_active(row) and row["role_id"] in held and is_active(permission):
            held[row["role_id"]].append(declared_permission(permission))
    granted = [row for row in state.member_role.values() if is_active(row) and has_effect(state, row)]
    grants = [
        DeclaredGrant(
            member=row["member_id"],
            role=roles[row["role_id"]]["key"],
            anchor=state.group[anchor]["path"] if (anchor := row["scope_anchor_group_id"]) is not None else None,
            not_before=msgspec.convert(row["not_before"], Moment | None),
            expires_at=msgspec.convert(row["expires_at"], Moment | None),
        )
        for row in granted
    ]
    groups = _with_those_above(state.group, {row["scope_anchor_group_id"] for row in granted} - {None})
    return Policy(
        version=1,
        space_id=state.space_id,
        groups=tuple(
            DeclaredGroup(path=row["path"], id=row["id"], name=row["name"], status=row["status"])
            for row in sorted(groups, key=lambda row: row["path"].split("."))
        ),
        roles=tuple(
            DeclaredRole(
                key=row["key"],
                name=row["name"],
                description=row["description"],
                permissions=tuple(sorted(held[row["id"]], key=meaning_of)),
            )
            for row in sorted(roles.values(), key=lambda row: row["key"])
        ),
        members=tuple(
            DeclaredMember(id=row["id"], display_name=row["display_name"], member_type=row["member_type"])
            for row in sorted(members.values(), key=lambda row: row["id"])
        ),
        grants=tuple(sorted(grants, key=lambda g: (g.member, g.role, g.anchor or ""))),
    )


def _with_those_above(groups: Rows, anchors: set[str]) -> list[dict[str, Any]]:
    """Return the active groups, the anchors of grants, and all that these lie below, active or not."""
    shown: dict[str, dict[str, Any]] = {}
    for id_, row in groups.items():
        at: str | None = id_ if is_active(row) or id_ in anchors else None
        while at is not None and at not in shown:
            shown[at] = groups[at]
            at = groups[at]["parent_group_id"]
    return list(shown.values())


def has_effect(state: SpaceState, grant: dict[str, Any]) -> bool:
    """Tell whether a grant can count: a disabled anchor doesn't end it, because some scopes ask for none."""
    return is_active(state.member[grant["member_id"]]) and is_active(state.role[grant["role_id"]])


def is_active(row: dict[str, Any]) -> bool:
    """Tell whether a row counts."""
    return bool(row["status"] == "active")


def declared_permission(row: dict[str, Any]) -> DeclaredPermission:
    """Return a stored permission as a policy declares it."""
    return DeclaredPermission(
        resource_type=row["resource_type"], action=row["action"], scope=row["scope"], condition=row["condition"]
    )


def meaning_of(permission: DeclaredPermission) -> tuple[str, ...]:
    """Return what tells a permission from all others: what it allows."""
    condition = msgspec.json.encode(permission.condition, order="sorted").decode()
    return (permission.resource_type, permission.action, permission.scope, condition)
