"""The rows of the permission graph as of a revision, told from its events alone: apply them in order, ask in between.

A row is the `after` of its last event. Only what an evaluation looks at is kept of a row. Pure: where the events come from
is no matter here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec
from msgspec.structs import replace

from shared.ctl.evaluation import is_within
from shared.ctl.trace import (
    ActorFacts,
    Facts,
    Grant,
    Granted,
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

Row = dict[str, Any]
T = TypeVar("T", bound=msgspec.Struct)

GROUP_MOVED: Final = "group.moved"


class Change(NamedTuple):
    """One event of authz's history."""

    revision: int
    kind: str
    entity_type: str
    entity_id: str
    before: Row | None
    after: Row | None


class UnreadableChange(ValueError):
    """An event of which no row can be made; its text says why."""


class StoredGrant(msgspec.Struct, frozen=True, gc=False):
    """A grant as it is stored: with the ids of role and anchor."""

    fact: Grant
    role_id: str
    anchor_id: str | None


class StoredPermission(msgspec.Struct, frozen=True, gc=False):
    """A permission as it is stored: with a status, which no trace shows."""

    fact: Permission
    status: str


class Holding(msgspec.Struct, frozen=True, gc=False):
    """That a role holds a permission."""

    role_id: str
    permission_id: str
    status: str


class StoredAction(msgspec.Struct, frozen=True, gc=False):
    """An action as it is stored: with the type that it belongs to."""

    fact: ResourceAction
    resource_type: str


class _Shelf(Generic[T]):
    """The rows of one noun by their id, and by one more thing that they are looked up by."""

    def __init__(self, make: Callable[[Row], T], place: Callable[[T], Any] = lambda _: None) -> None:
        self._make = make
        self._place = place
        self._rows: dict[Any, T] = {}
        self._placed: defaultdict[Any, dict[Any, T]] = defaultdict(dict)

    def get(self, id_: Any) -> T | None:
        return self._rows.get(id_)

    def at(self, place: Any) -> list[T]:
        return list(self._placed[place].values()) if place in self._placed else []

    def make(self, id_: Any, after: Row | None) -> None:
        """Put the row that an event left, in the place of the one before it; nothing if it left none."""
        known = self._rows.pop(id_, None)
        if known is not None:
            self._placed[self._place(known)].pop(id_)
        if after is not None:
            self.put(id_, self._make(after))

    def put(self, id_: Any, row: T) -> None:
        self._rows[id_] = row
        self._placed[self._place(row)][id_] = row


class History:
    """The graph as the events applied so far left it."""

    def __init__(self) -> None:
        """Begin before the first event."""
        self._users = _Shelf(_maker(User))
        self._spaces = _Shelf(_maker(Space))
        self._members = _Shelf(_maker(Member))
        self._bindings = _Shelf(_maker(UserMember))
        self._roles = _Shelf(_maker(Role))
        self._resources = _Shelf(_resource)
        self._groups = _Shelf(_maker(Group), lambda row: row.space_id)
        self._types = _Shelf(_maker(ResourceType), lambda row: row.key)
        self._actions = _Shelf(_action, lambda row: (row.resource_type, row.fact.key))
        self._permissions = _Shelf(_permission)
        self._holdings = _Shelf(_maker(Holding), lambda row: row.role_id)
        self._grants = _Shelf(_grant, lambda row: row.fact.member_id)
        self._shelves: dict[str, _Shelf[Any]] = {
            "user": self._users,
            "space": self._spaces,
            "group": self._groups,
            "member": self._members,
            "user_member": self._bindings,
            "resource_type": self._types,
            "resource_action": self._actions,
            "role": self._roles,
            "permission": self._permissions,
            "role_permission": self._holdings,
            "member_role": self._grants,
            "resource": self._resources,
        }

    def apply(self, change: Change) -> None:
        """Take in the next event; raises `UnreadableChange` when no row can be made of it, and then there is none."""
        try:
            shelf = self._shelves[change.entity_type]
            if change.kind == GROUP_MOVED and change.before is not None and change.after is not None:
                self._move(change.before["space_id"], change.before["path"], change.after["path"])
            shelf.make(self._identity(change), change.after)
        except KeyError as error:
            raise UnreadableChange(f"it has no {error}") from error
        except (msgspec.ValidationError, TypeError) as error:
            raise UnreadableChange(str(error)) from error

    def facts(self, question: Question) -> Facts:
        """Return what was stored that bears on a question."""
        ids = question.actor
        resource = self._resources.get((question.resource_type, question.resource_id))
        registered = next(iter(self._types.at(question.resource_type)), None)
        actions = self._actions.at((question.resource_type, question.action)) if registered else []
        return Facts(
            actor=ActorFacts(
                member=self._members.get(ids.member_id),
                space=self._spaces.get(ids.space_id),
                user=self._users.get(ids.user_id),
                user_member=self._bindings.get(ids.user_member_id),
            ),
            granted=tuple(self._granted(ids.member_id)),
            registry=RegistryFacts(action=actions[0].fact if actions else None, resource_type=registered),
            target=TargetFacts(
                group=None if resource is None else self._groups.get(resource.group_id), resource=resource
            ),
        )

    def _granted(self, member_id: str) -> Iterable[Granted]:
        """Every active permission of every active grant; the role and the anchor have their say in the evaluation."""
        for grant in self._grants.at(member_id):
            role = self._roles.get(grant.role_id)
            if grant.fact.status != "active" or role is None:
                continue
            anchor = self._groups.get(grant.anchor_id)
            for holding in self._holdings.at(grant.role_id):
                permission = self._permissions.get(holding.permission_id)
                if holding.status == "active" and permission is not None and permission.status == "active":
                    yield Granted(anchor=anchor, grant=grant.fact, permission=permission.fact, role=role)

    def _move(self, space_id: str, root: str, moved: str) -> None:
        """Let the groups below a moved one follow it: the event has the one group only, its subtree keeps its shape."""
        for group in self._groups.at(space_id):
            if is_within(group.path, root):
                self._groups.put(group.id, replace(group, path=moved + group.path[len(root) :]))

    def _identity(self, change: Change) -> Any:
        # A resource is told apart by its type too; everything else by its id alone.
        if change.entity_type != "resource":
            return change.entity_id
        return ((change.after or change.before or {})["resource_type"], change.entity_id)


def _maker(kind: type[T]) -> Callable[[Row], T]:
    names = kind.__struct_fields__
    return lambda row: msgspec.convert({name: row[name] for name in names}, kind)


_make_resource: Final = _maker(Resource)
_make_action: Final = _maker(ResourceAction)
_make_permission: Final = _maker(Permission)
_make_grant: Final = _maker(Grant)


def _resource(row: Row) -> Resource:
    return _make_resource(row | {"type": row["resource_type"]})


def _action(row: Row) -> StoredAction:
    return StoredAction(_make_action(row), row["resource_type"])


def _permission(row: Row) -> StoredPermission:
    return StoredPermission(_make_permission(row), row["status"])


def _grant(row: Row) -> StoredGrant:
    return StoredGrant(_make_grant(row), row["role_id"], row["scope_anchor_group_id"])
