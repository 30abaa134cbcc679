"""Random worlds: one generator, fed by hypothesis (which shrinks) or by a seeded `random.Random` (which is fast).

Pools are small on purpose, so that ids collide and inactive, expired, foreign and missing rows meet each other. The
first option of each pool is the ordinary one: that is what a failing example shrinks towards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from random import Random
from typing import Any, NamedTuple

from hypothesis import strategies as st

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
from tests.unit.worlds import ABROAD, HOME, NOW, TICK

Choose = Callable[[Sequence[Any]], Any]

INSTANTS = (NOW, NOW - TICK, NOW + TICK)
PATHS = ("finance", "finance.apac", "finance.apac.tokyo", "financeops", "finance.apacific", "legal")
SCOPES = ("group_tree", "group", "self", "space", "global", "galaxy")
PROPERTIES: tuple[dict[str, Any], ...] = (
    {},
    {"tier": "gold"},
    {"tier": 1},
    {"tier": True, "flags": [1]},
    {"tier": None, "flags": [True]},
    {"tier": {"rank": 1}},
)
CONDITIONS: tuple[dict[str, Any] | None, ...] = (
    None,
    None,
    None,
    {},
    {"tier": "gold"},
    {"tier": ["gold", 1]},
    {"tier": True},
    {"tier": [None, {"rank": True}]},
    {"tier": {"rank": 1}},
    {"flags": [[1]], "tier": [True, None]},
)


class World(NamedTuple):
    """All that `decide` is given."""

    facts: Facts
    question: Question
    now: datetime


def _mostly(usual: Any, *unusual: Any, times: int = 9) -> tuple[Any, ...]:
    return (usual,) * times + unusual


def world(choose: Choose) -> World:
    """A world in which each thing may be wrong; half of them have nothing wrong before the candidates."""
    sound = choose((True, False))
    status = ("active",) if sound else _mostly("active", "disabled")
    space_id = (HOME,) if sound else _mostly(HOME, ABROAD, times=19)
    member_id = _mostly("member_1", "member_2", times=29)

    def perhaps(fact: Any) -> Any:
        return fact if sound else choose(_mostly(fact, None, times=19))

    question = Question(
        action="approve",
        actor=ActorIds(member_id="member_1", space_id=HOME, user_id="user_1", user_member_id="um_1"),
        resource_id="invoice_1",
        resource_type="invoice",
    )
    facts = Facts(
        actor=ActorFacts(
            member=perhaps(Member(display_name=None, id="member_1", space_id=choose(space_id), status=choose(status))),
            space=perhaps(Space(id=HOME, name=None, status=choose(status))),
            user=perhaps(User(email=None, id="user_1", status=choose(status))),
            user_member=perhaps(
                UserMember(
                    expires_at=choose((None, *INSTANTS)) if not sound else None,
                    id="um_1",
                    member_id="member_1" if sound else choose(member_id),
                    relation_type=None,
                    space_id=choose(space_id),
                    status="active" if sound else choose(_mostly("active", "revoked")),
                    user_id="user_1" if sound else choose(_mostly("user_1", "user_2", times=19)),
                )
            ),
        ),
        granted=tuple(_granted(choose) for _ in range(choose((1, 2, 3, 4, 0)))),
        registry=RegistryFacts(
            action=perhaps(ResourceAction(key="approve", risk_level="high", status=choose(status))),
            resource_type=perhaps(ResourceType(key="invoice", status=choose(status))),
        ),
        target=TargetFacts(
            group=_perhaps_group(choose),
            resource=perhaps(
                Resource(
                    external_id=None,
                    group_id=None,
                    id="invoice_1",
                    owner_member_id=choose(("member_1", "member_2", None)),
                    properties=choose(PROPERTIES),
                    space_id=choose(space_id),
                    status="active" if sound else choose(_mostly("active", "archived")),
                    type="invoice",
                )
            ),
        ),
    )
    return World(facts, question, choose(INSTANTS))


def _perhaps_group(choose: Choose) -> Group | None:
    if choose(_mostly(False, True, times=4)):
        return None
    return Group(
        id=choose(("group_1", "group_2", None)),
        path=choose(PATHS),
        space_id=choose(_mostly(HOME, ABROAD, times=39)),
        status=choose(_mostly("active", "disabled", times=5)),
    )


def _granted(choose: Choose) -> GrantedPermission:
    abroad_rarely = _mostly(HOME, ABROAD, times=49)
    return GrantedPermission(
        anchor=_perhaps_group(choose),
        grant=Grant(
            expires_at=choose(_mostly(None, *INSTANTS, times=6)),
            id=choose(("grant_1", "grant_2", None)),
            member_id=choose(_mostly("member_1", "member_2", times=49)),
            not_before=choose(_mostly(None, *INSTANTS, times=6)),
            space_id=choose(abroad_rarely),
            status=choose(_mostly("active", "revoked")),
        ),
        permission=Permission(
            action=choose(_mostly("approve", "approve_all", times=14)),
            condition=choose(CONDITIONS),
            id=choose(("permission_1", "permission_2", None)),
            resource_type=choose(_mostly("invoice", "invoice_line", times=14)),
            scope=choose(SCOPES),
        ),
        role=Role(
            id=choose(("role_1", "role_2", None)),
            key=choose(("clerk", "chief")),
            space_id=choose(abroad_rarely),
            status=choose(_mostly("active", "disabled")),
        ),
    )


def seeded_world(seed: int) -> World:
    """The world that belongs to a seed: quick, and the same on every machine."""
    return world(Random(seed).choice)


def _drawn(draw: st.DrawFn) -> Choose:
    # One integer a choice, and none where there is no choice: several times faster than `sampled_from`.
    return lambda options: options[draw(_INDEXES[len(options)])] if len(options) > 1 else options[0]


_INDEXES = [st.integers(0, max(0, size - 1)) for size in range(64)]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Hypothesis' worlds: the same generator, each choice drawn and therefore shrinkable."""
    return world(_drawn(draw))


@st.composite
def any_granted(draw: st.DrawFn) -> GrantedPermission:
    """Any granted permission, foreign and stale ones included."""
    return _granted(_drawn(draw))
