"""Who would gain and who would lose what between two states of a Space: pure, and decided by the engine itself.

Asked is every member, as if an active user acted through an active binding, for every registered action on every active
resource whose answer can differ: where the member's rules differ, or the groups that they go by.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import cached_property
from itertools import islice
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from services.authz.engine import decide
from services.authz.model import (
    ActorFacts,
    ActorIds,
    Fact,
    Facts,
    Grant,
    GrantedPermission,
    Group,
    Member,
    Permission,
    Question,
    RegistryFacts,
    Resource,
    Role,
    Space,
    TargetFacts,
    User,
    UserMember,
)
from services.authz.policy import SpaceState, is_active
from services.authz.store import Registry

# Evaluations after which the report stops and says so: some ten seconds.
MAX_EVALUATIONS: Final = 200_000
MAX_LISTED: Final = 1_000
MAX_IDS: Final = 100
_ANYBODY: Final = "anybody"

Action = tuple[str, str]
F = TypeVar("F", bound=Fact)


class ResourceClass(NamedTuple):
    """Resources that no rule tells apart: how many, and the first ids of them."""

    resource_type: str
    group_id: str | None
    owner_member_id: str | None
    properties: dict[str, Any]
    size: int
    ids: tuple[str, ...]


class AccessChange(msgspec.Struct, frozen=True, kw_only=True):
    """For one member and action, the answer on some resources before and after: `allow`, or the deny code.

    `resource_ids` are the first hundred of `count`.
    """

    member_id: str
    resource_type: str
    action: str
    before: str
    after: str
    count: int
    resource_ids: tuple[str, ...]


class AccessReport(msgspec.Struct, frozen=True, kw_only=True):
    """How many answers (member, action, resource) become allow and how many deny, and which.

    `changes` lists the first thousand; `complete` is false when there were more, or more to evaluate than is evaluated.
    """

    gained: int
    lost: int
    changes: list[AccessChange]
    complete: bool


def _fact(kind: type[F], row: dict[str, Any]) -> F:
    """Make a fact of those fields of a row that it has."""
    return msgspec.convert({name: row[name] for name in kind.__struct_fields__}, kind)


class _View:
    """One state, ready to be asked."""

    def __init__(self, state: SpaceState, space: dict[str, Any], now: datetime) -> None:
        self._state = state
        self._now = now
        self._space = _fact(Space, space)
        self.groups = {id_: _fact(Group, row) for id_, row in state.group.items()}
        self.granted = self._granted()

    def _granted(self) -> dict[tuple[str, Action], tuple[GrantedPermission, ...]]:
        state, found = self._state, defaultdict[tuple[str, Action], list[GrantedPermission]](list)
        held = defaultdict[str, list[dict[str, Any]]](list)
        for row in state.role_permission.values():
            if is_active(row) and is_active(state.permission[row["permission_id"]]):
                held[row["role_id"]].append(state.permission[row["permission_id"]])
        for row in state.member_role.values():
            if not is_active(row):
                continue
            grant, role = _fact(Grant, row), _fact(Role, state.role[row["role_id"]])
            anchor = self.groups[row["scope_anchor_group_id"]] if row["scope_anchor_group_id"] else None
            for permission in held[row["role_id"]]:
                key = (row["member_id"], (permission["resource_type"], permission["action"]))
                fact = _fact(Permission, permission)
                found[key].append(GrantedPermission(anchor=anchor, grant=grant, permission=fact, role=role))
        return {key: tuple(granted) for key, granted in found.items()}

    def rules(self, member_id: str, action: Action) -> tuple[Any, ...]:
        """Return all of the member's side that an answer can depend on."""
        member = self._state.member.get(member_id)
        granted = self.granted.get((member_id, action), ())
        return (None if member is None else member["status"], frozenset(map(msgspec.json.encode, granted)))

    def answer(self, member_id: str, action: Action, registry: Registry, resource: ResourceClass) -> str:
        """Decide for the member on any of these resources: `allow`, or the deny code."""
        member = self._state.member.get(member_id)
        type_, key = action
        ids = ActorIds(member_id=member_id, space_id=self._state.space_id, user_id=_ANYBODY, user_member_id=_ANYBODY)
        facts = Facts(
            actor=ActorFacts(
                member=None if member is None else _fact(Member, member),
                space=self._space,
                user=User(email=None, id=_ANYBODY, status="active"),
                user_member=UserMember(
                    expires_at=None,
                    id=_ANYBODY,
                    member_id=member_id,
                    relation_type=None,
                    space_id=self._state.space_id,
                    status="active",
                    user_id=_ANYBODY,
                ),
            ),
            granted=self.granted.get((member_id, action), ()),
            registry=RegistryFacts(action=registry[type_].actions[key], resource_type=registry[type_].resource_type),
            target=TargetFacts(
                group=None if resource.group_id is None else self.groups.get(resource.group_id),
                resource=Resource(
                    external_id=None,
                    group_id=resource.group_id,
                    id=resource.ids[0],
                    owner_member_id=resource.owner_member_id,
                    properties=resource.properties,
                    space_id=self._state.space_id,
                    status="active",
                    type=type_,
                ),
            ),
        )
        question = Question(action=key, actor=ids, resource_id=resource.ids[0], resource_type=type_)
        verdict = decide(facts, question, self._now)
        return verdict.deny_code or verdict.decision


class _Part(NamedTuple):
    """Resources on which a member has one answer: one of them, how many, and which."""

    one: ResourceClass
    size: int
    ids: Callable[[], tuple[str, ...]]


class _Alike:
    """Resources of a type that differ in nothing but their owner, so that a member tells two parts: its own, and others'.

    An owner for each resource is ordinary: members are not asked about each owner's.
    """

    def __init__(self) -> None:
        self._of: dict[str | None, ResourceClass] = {}
        self._size = 0

    def add(self, resource: ResourceClass) -> None:
        self._of[resource.owner_member_id] = resource
        self._size += resource.size

    def parts(self, member_id: str) -> Iterator[_Part]:
        own = self._of.get(member_id)
        if own is not None:
            yield _Part(own, own.size, lambda: own.ids)
        others = self._size - (0 if own is None else own.size)
        if others:
            one = next(resource for owner, resource in self._of.items() if owner != member_id)
            yield _Part(one, others, lambda: tuple(islice(self._ids_of_others(member_id), MAX_IDS)))

    def _ids_of_others(self, member_id: str) -> Iterator[str]:
        return (id_ for id_, owner in self._ids if owner != member_id)

    @cached_property
    def _ids(self) -> list[tuple[str, str | None]]:
        return sorted((id_, owner) for owner, resource in self._of.items() for id_ in resource.ids)


class Comparison:
    """Two states of a Space beside each other; `types` are the resource types whose resources must be looked at."""

    def __init__(
        self, before: SpaceState, after: SpaceState, space: dict[str, Any], registry: Registry, now: datetime
    ) -> None:
        self._before = _View(before, space, now)
        self._after = _View(after, space, now)
        self._registry = registry
        self._groups_differ = self._before.groups != self._after.groups
        members = before.member.keys() | after.member.keys()
        self._touched = [
            (member, action)
            for member in sorted(members)
            for action in self._actions()
            if self._differs(member, action)
        ]
        self.types = sorted({type_ for _, (type_, _) in self._touched})

    @property
    def has_conditions(self) -> bool:
        """Whether a rule that matters asks for properties, so that resources differ by them."""
        return any(
            granted.permission.condition is not None
            for view in (self._before, self._after)
            for touched in self._touched
            for granted in view.granted.get(touched, ())
        )

    def report(self, resources: Iterable[ResourceClass]) -> AccessReport:
        """Decide on all resources of `types`, given by class."""
        by_type = defaultdict[str, dict[tuple[Any, ...], _Alike]](dict)
        for resource in resources:
            key = (resource.group_id, msgspec.json.encode(resource.properties))
            by_type[resource.resource_type].setdefault(key, _Alike()).add(resource)
        gained = lost = evaluated = 0
        complete, changes = True, list[AccessChange]()
        for member_id, action in self._touched:
            for part in (part for alike in by_type[action[0]].values() for part in alike.parts(member_id)):
                if evaluated == MAX_EVALUATIONS:
                    return AccessReport(gained=gained, lost=lost, changes=changes, complete=False)
                evaluated += 1
                before = self._before.answer(member_id, action, self._registry, part.one)
                after = self._after.answer(member_id, action, self._registry, part.one)
                if (before == "allow") == (after == "allow"):
                    continue
                gained += part.size if after == "allow" else 0
                lost += part.size if before == "allow" else 0
                if len(changes) == MAX_LISTED:
                    complete = False
                    continue
                changes.append(
                    AccessChange(
                        member_id=member_id,
                        resource_type=action[0],
                        action=action[1],
                        before=before,
                        after=after,
                        count=part.size,
                        resource_ids=part.ids(),
                    )
                )
        return AccessReport(gained=gained, lost=lost, changes=changes, complete=complete)

    def _actions(self) -> Iterator[Action]:
        for type_, registered in sorted(self._registry.items()):
            for key in sorted(registered.actions):
                yield type_, key

    def _differs(self, member_id: str, action: Action) -> bool:
        if self._before.rules(member_id, action) != self._after.rules(member_id, action):
            return True
        return self._groups_differ and any(
            granted.permission.scope in {"group", "group_tree"}
            for granted in self._after.granted.get((member_id, action), ())
        )
