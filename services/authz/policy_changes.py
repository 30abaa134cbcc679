"""What must happen so that a Space is as its policy declares it, told from its rows: pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from services.authz.images import image_of, plain_values
from services.authz.journal import GROUP_MOVED, Change
from services.authz.nouns import NOUNS, OF_ROW
from services.authz.policy import (
    DeclaredGroup,
    Policy,
    Rows,
    SpaceState,
    declared_permission,
    has_effect,
    is_active,
    meaning_of,
)
from services.authz.rows import GroupRow, MemberRoleRow, MemberRow, PermissionRow, RolePermissionRow, RoleRow, Row
from shared.problems import Problem, problem_at

UNDECLARED: Final = "The policy of the Space doesn't declare it."


def next_changes(
    state: SpaceState, policy: Policy, new_id: Callable[[str], str], now: str, reason: str | None
) -> list[Change]:
    """Return the next changes that bring a Space nearer to its policy; none when it is as declared.

    A move is returned by itself, because the rows below it change with it: write it, read the state again, go on.
    """
    differ = _Differ(state, new_id, now, reason)
    by_path = {row["path"]: row for row in state.group.values()}
    known, made = dict(by_path), list[Change]()
    goes_to = {group.id: group.path for group in policy.groups if group.id is not None}
    waiting: dict[str, int] = {}
    for index, group in sorted(enumerate(policy.groups), key=lambda entry: entry[1].path.count(".")):
        holder = by_path.get(group.path)
        row = state.group.get(group.id) if group.id is not None else holder
        if group.path.rpartition(".")[0] in waiting or (
            holder is not None and goes_to.get(holder["id"], group.path) != group.path
        ):
            waiting[group.path] = index  # for its place, which another group is to leave, or for the group above it
        elif holder is not None and holder is not row:
            raise _misplaced(
                "duplicate_key",
                index,
                "id",
                f"the group {holder['id']} has this path; declare that one, or give it another path first",
            )
        elif row is None:
            change = differ.make(differ.group(group, known))
            known[group.path] = change.after
            made.append(change)
        elif row is holder:
            made += differ.keep("group", row, {} if group.name is None else {"name": group.name}, group.status)
        else:
            # What is above its new place comes first.
            return made or [differ.move(row, group.path, by_path)]
    if waiting and not made:
        index = min(waiting.values())
        raise _misplaced(
            "conflict", index, "path", "groups take each other's places; move one of them out of the way first"
        )
    return made or [*differ.roles(policy), *differ.members(policy), *differ.grants(policy), *differ.old_groups(policy)]


def _misplaced(code: str, index: int, field: str, says: str) -> Problem:
    return problem_at(code, f"/groups/{index}/{field}", says)


class _Differ:
    def __init__(self, state: SpaceState, new_id: Callable[[str], str], now: str, reason: str | None) -> None:
        self._state = state
        self._new_id = new_id
        self._now = now
        self._reason = reason
        # Roles and permissions that the same changes make: what comes later refers to them.
        self._roles = {row["key"]: row["id"] for row in state.role.values()}
        self._permissions = {meaning_of(declared_permission(row)): row for row in state.permission.values()}

    def move(self, row: dict[str, Any], path: str, by_path: dict[str, dict[str, Any]]) -> Change:
        above, _, key = path.rpartition(".")
        after = row | {"parent_group_id": by_path[above]["id"] if above else None, "key": key, "path": path}
        return Change(after=after, before=row, entity_type="group", kind=GROUP_MOVED, reason=self._reason)

    def group(self, group: DeclaredGroup, known: dict[str, dict[str, Any]]) -> GroupRow:
        above, _, key = group.path.rpartition(".")
        return GroupRow(
            id=group.id or self._new_id("group"),
            space_id=self._state.space_id,
            parent_group_id=known[above]["id"] if above else None,
            key=key,
            name=group.name or key,
            path=group.path,
        )

    def old_groups(self, policy: Policy) -> Iterator[Change]:
        yield from self._drop(
            "group", self._state.group, {group.path for group in policy.groups}, lambda row: row["path"]
        )

    def roles(self, policy: Policy) -> Iterator[Change]:
        by_key = {row["key"]: row for row in self._state.role.values()}
        for role in policy.roles:
            row = by_key.get(role.key)
            if row is None:
                made = RoleRow(
                    id=self._new_id("role"),
                    space_id=self._state.space_id,
                    key=role.key,
                    name=role.name,
                    description=role.description,
                )
                self._roles[role.key] = made.id
                yield self.make(made)
            else:
                yield from self.keep("role", row, {"name": role.name, "description": role.description})
        yield from self._drop("role", self._state.role, {role.key for role in policy.roles}, lambda row: row["key"])
        yield from self._holdings(policy)

    def _holdings(self, policy: Policy) -> Iterator[Change]:
        held = {(row["role_id"], row["permission_id"]): row for row in self._state.role_permission.values()}
        declared = set()
        for at, role in enumerate(policy.roles):
            for index, permission in enumerate(role.permissions):
                allowed = self._permissions.get(meaning_of(permission))
                if allowed is None:
                    made = PermissionRow(id=self._new_id("perm"), **msgspec.structs.asdict(permission))
                    allowed = self._permissions[meaning_of(permission)] = image_of(made)
                    yield self.make(made)
                elif not is_active(allowed):
                    # It is that of other Spaces too, whose answers would change.
                    says = (
                        f"the permission {allowed['id']} is disabled for all Spaces; restore it there, or leave it out"
                    )
                    raise problem_at("status_conflict", f"/roles/{at}/permissions/{index}", says)
                pair = (self._roles[role.key], allowed["id"])
                declared.add(pair)
                if pair in held:
                    yield from self.keep("role_permission", held[pair], {})
                else:
                    yield self.make(
                        RolePermissionRow(
                            id=self._new_id("rp"), space_id=self._state.space_id, role_id=pair[0], permission_id=pair[1]
                        )
                    )
        counting = {
            id_: row
            for id_, row in self._state.role_permission.items()
            if is_active(self._state.role[row["role_id"]]) and is_active(self._state.permission[row["permission_id"]])
        }
        yield from self._drop("role_permission", counting, declared, lambda row: (row["role_id"], row["permission_id"]))

    def members(self, policy: Policy) -> Iterator[Change]:
        for member in policy.members:
            row = self._state.member.get(member.id)
            if row is None:
                yield self.make(MemberRow(space_id=self._state.space_id, **msgspec.structs.asdict(member)))
            else:
                values = {"display_name": member.display_name, "member_type": member.member_type}
                yield from self.keep("member", row, values)
        yield from self._drop("member", self._state.member, {m.id for m in policy.members}, lambda row: row["id"])

    def grants(self, policy: Policy) -> Iterator[Change]:
        groups = {row["path"]: row["id"] for row in self._state.group.values()}
        stored = {_granted(row): row for row in self._state.member_role.values()}
        declared = set()
        for grant in policy.grants:
            anchor = None if grant.anchor is None else groups[grant.anchor]
            granted = (grant.member, self._roles[grant.role], anchor)
            declared.add(granted)
            window: dict[str, Any] = {"not_before": grant.not_before, "expires_at": grant.expires_at}
            row = stored.get(granted)
            if row is None:
                yield self.make(
                    MemberRoleRow(
                        id=self._new_id("mr"),
                        space_id=self._state.space_id,
                        member_id=granted[0],
                        role_id=granted[1],
                        scope_anchor_group_id=anchor,
                        **window,
                    )
                )
            elif is_active(row):
                yield from self.keep("member_role", row, plain_values(window))
            else:
                after = row | plain_values(window) | {"status": "active", "revoked_at": None, "revoked_reason": None}
                yield self._change("member_role", NOUNS["member_role"].made, row, after)
        for row in self._state.member_role.values():
            if is_active(row) and _granted(row) not in declared and has_effect(self._state, row):
                reason = self._reason or UNDECLARED
                after = row | {"status": "revoked", "revoked_at": self._now, "revoked_reason": reason}
                yield self._change("member_role", "revoked", row, after, reason)

    def make(self, row: Row) -> Change:
        noun = OF_ROW[type(row)]
        return Change(
            after=image_of(row), before=None, entity_type=noun.name, kind=noun.kind(noun.made), reason=self._reason
        )

    def keep(self, noun: str, row: dict[str, Any], values: dict[str, Any], status: str = "active") -> Iterator[Change]:
        """Let a row have these values and count, or not; one that is so already is left alone."""
        after = row | values | {"status": status}
        verb = "updated" if row["status"] == status else {"active": "restored", "disabled": "disabled"}[status]
        if after != row:
            yield self._change(noun, verb, row, after)

    def _drop(
        self, noun: str, rows: Rows, declared: set[Any], key: Callable[[dict[str, Any]], Any]
    ) -> Iterator[Change]:
        for row in rows.values():
            if is_active(row) and key(row) not in declared:
                after = row | {"status": "disabled"}
                yield self._change(noun, "disabled", row, after, self._reason or UNDECLARED)

    def _change(
        self, noun: str, verb: str, before: dict[str, Any], after: dict[str, Any], reason: str | None = None
    ) -> Change:
        return Change(
            after=after,
            before=before,
            entity_type=noun,
            kind=NOUNS[noun].kind(verb),
            reason=reason or self._reason,
        )


def _granted(row: dict[str, Any]) -> tuple[Any, ...]:
    return (row["member_id"], row["role_id"], row["scope_anchor_group_id"])
