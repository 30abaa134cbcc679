"""Worlds of any size for the benchmarks: a pure description from which the same rows and the same questions always follow.

A world is a seed and a few estates; an estate is any number of Spaces of one shape. Nothing is drawn while it is used: each
row and each question is arithmetic on its number and on salts that came from the seed, so `worlds.sql` can make ten million
rows in the database, and this module can tell what the right answer about any of them is without looking there.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import random
from collections.abc import Iterator
from typing import Final, NamedTuple, Self

TYPES: Final = 4
ACTIONS: Final = ("read", "update", "approve", "delete")
RISKS: Final = ("low", "normal", "high", "critical")
SCOPES: Final = ("self", "group", "group_tree", "space")
# Role r of a Space holds, for every type, two of the four actions (reading ones or deciding ones) within scope r mod 4.
ROLES: Final = 8
ACTIONS_OF_A_ROLE: Final = 2
BINDINGS_OF_A_USER: Final = 4
# How deep the two chains of groups are.
SHALLOW: Final = 3
DEEP: Final = 1_000

_FACTOR: Final = 2_654_435_761
_PRIME: Final = 2_147_483_647


def pick(number: int, salt: int, among: int) -> int:
    """Choose one of `among`, evenly and always the same; `worlds.sql` has the same function."""
    return (number * _FACTOR + salt) % _PRIME % among


class Question(NamedTuple):
    """The body of a check, and whether the world's construction allows it."""

    body: str
    allowed: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estate:
    """Spaces of one shape: how many, what each holds, and the salts that its choices are made with."""

    key: str
    spaces: int
    # Of each Space; of each member for grants.
    members: int
    grants: int
    resources: int
    groups: int
    # How many groups lie right below a group; with one, the tree is a chain as deep as there are groups.
    branching: int
    # Grants are anchored at one of the first so many groups, resources lie in one of the last so many.
    anchors: int
    homes: int
    # Which roles are granted.
    granted: tuple[int, ...]
    role_salt: int
    anchor_salt: int
    home_salt: int
    owner_salt: int
    action_salt: int
    # Members are asked for in strides of this many, so that neighbouring questions are about different Spaces.
    stride: int

    @classmethod
    def drawn(cls, chance: random.Random, **shape: object) -> Self:
        """Make an estate of a shape, its salts drawn by chance."""
        salts = {field.name: chance.randrange(_PRIME) for field in dataclasses.fields(cls) if "_salt" in field.name}
        estate = cls(**shape, **salts, stride=1)  # type: ignore[arg-type]  # the dataclass names what is missing
        total = estate.spaces * estate.members
        stride = next(n for n in itertools.count(chance.randrange(total) | 1) if math.gcd(n, total) == 1)
        return dataclasses.replace(estate, stride=stride)

    @property
    def users(self) -> int:
        """How many users its members are bound to, some members each."""
        return max(1, self.spaces * self.members // BINDINGS_OF_A_USER)

    def questions(self, start: int = 0) -> Iterator[Question]:
        """Ask on and on: another actor each time, and another resource, until each member was asked for; then again."""
        for index in itertools.count(start):
            turn, place = divmod(index, self.spaces * self.members)
            member = place * self.stride % (self.spaces * self.members)
            # Each member of a Space has a stretch of its resources to itself, as long as there are enough.
            stretch = max(1, self.resources // self.members)
            space, within = divmod(member, self.members)
            resource = space * self.resources + (within * stretch + turn) % self.resources
            yield self.question(member, resource, pick(index, self.action_salt, len(ACTIONS)))

    def crossed(self, count: int) -> Iterator[Question]:
        """Ask for each of `count` members of the first Space and each of `count` of its resources, every pair once.

        The first `count` questions name each of them once, so whoever asked those has met all facts of the others.
        """
        for shift in range(count):
            for member in range(count):
                yield self.question(member, (member + shift) % count, (member + shift) % len(ACTIONS))

    def question(self, member: int, resource: int, action: int) -> Question:
        """Ask whether a member of some Space, by its number, may do an action on a resource of the same Space."""
        actor = {
            "member_id": f"{self.key}_m{member}",
            "space_id": f"{self.key}_s{member // self.members}",
            "user_id": f"{self.key}_u{member % self.users}",
            "user_member_id": f"{self.key}_b{member}",
        }
        kind = f"kind_{resource % TYPES}"
        asked = {
            "actor": actor,
            "action": ACTIONS[action],
            "resource_type": kind,
            "resource_id": f"{self.key}_x{resource}",
        }
        return Question(json.dumps(asked), any(self._covers(grant, resource, action) for grant in self._grants(member)))

    def _grants(self, member: int) -> Iterator[tuple[int, int, int]]:
        """The member, role and anchor of each of a member's grants."""
        for number in range(member * self.grants, (member + 1) * self.grants):
            drawn = pick(member, self.role_salt, len(self.granted)) + number % self.grants
            yield member, self.granted[drawn % len(self.granted)], pick(number, self.anchor_salt, self.anchors)

    def _covers(self, grant: tuple[int, int, int], resource: int, action: int) -> bool:
        member, role, anchor = grant
        if action // ACTIONS_OF_A_ROLE != role // len(SCOPES):
            return False
        home = self.groups - 1 - pick(resource, self.home_salt, self.homes)
        match SCOPES[role % len(SCOPES)]:
            case "self":
                return pick(resource, self.owner_salt, self.members) == member % self.members
            case "group":
                return home == anchor
            case "group_tree":
                while home > anchor:
                    home = (home - 1) // self.branching
                return home == anchor
            case _:
                return True


@dataclasses.dataclass(frozen=True)
class World:
    """A seed and what it makes: the Spaces in the main, and two Spaces whose groups are one chain, short and long."""

    seed: int
    main: Estate
    shallow: Estate
    deep: Estate

    @classmethod
    def made(cls, seed: int, *, spaces: int, members: int, grants: int, resources: int, probes: int = 2_000) -> Self:
        """Make the world of a seed and a size.

        So many Spaces, members and resources of each, grants of each member; probes are the members, and the resources, of
        each chain.
        """
        chance = random.Random(seed)
        main = Estate.drawn(
            chance,
            key="main",
            spaces=spaces,
            members=members,
            grants=grants,
            resources=resources,
            groups=50,
            branching=3,
            anchors=13,
            homes=50,
            granted=tuple(range(ROLES)),
        )
        shallow, deep = (
            Estate.drawn(
                chance,
                key=key,
                spaces=1,
                members=probes,
                grants=1,
                resources=probes,
                groups=depth,
                branching=1,
                anchors=1,
                homes=1,
                granted=tuple(r for r in range(ROLES) if SCOPES[r % len(SCOPES)] == "group_tree"),
            )
            for key, depth in (("shallow", SHALLOW), ("deep", DEEP))
        )
        return cls(seed, main, shallow, deep)

    @property
    def estates(self) -> tuple[Estate, ...]:
        """All of it."""
        return self.main, self.shallow, self.deep
