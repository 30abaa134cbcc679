"""What is tried on the permission graph: commands that fit, and commands with taken ids, foreign, unknown and stale ones.

Ids, keys and values come from pools so small that commands meet each other.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import count
from random import Random
from typing import Any, Final

from tests.service.graph_model import DEFAULTS, ENDED, IN_SPACE, LINKS, Command, Graph, Row

SPACES: Final = ("space_a", "space_b")
# What a command may change of a noun, beside metadata; a permission and what a role holds have nothing else.
CHANGEABLE: Final[dict[str, tuple[str, ...]]] = {
    "user": ("email", "display_name"),
    "space": ("name",),
    "group": ("name",),
    "member": ("display_name", "member_type"),
    "user_member": ("relation_type", "is_primary", "expires_at"),
    "resource_type": ("display_name", "description"),
    "resource_action": ("display_name", "risk_level"),
    "role": ("name", "description"),
    "permission": (),
    "role_permission": (),
    "member_role": ("not_before", "expires_at"),
    "resource": ("external_id", "group_id", "owner_member_id", "display_name", "properties"),
}
# What must be given of a new row, beside what it names.
DEMANDED: Final[dict[str, tuple[str, ...]]] = {
    "user": ("email",),
    "space": ("key", "name"),
    "group": ("key", "name"),
    "member": ("display_name",),
    "resource_type": ("key", "display_name"),
    "resource_action": ("resource_type", "key", "display_name", "risk_level"),
    "role": ("key", "name"),
    "permission": ("resource_type", "action", "scope", "condition"),
    "resource": ("resource_type",),
}
NAMES: Final = ("One", "Two", "Tür")
JSON: Final = ({}, {"state": 1}, {"state": True}, {"state": ["new", None]}, {"state": 0.5})
VALUES: Final[dict[str, tuple[Any, ...]]] = {
    "action": ("read", "write", "print"),
    "condition": (None, *JSON),
    "description": (None, *NAMES),
    "display_name": NAMES,
    "email": ("One@x.example", "one@X.example", "two@x.example", "three@x.example"),
    "external_id": (None, *NAMES),
    "is_primary": (False, True),
    "key": ("top", "top_2", "mid", "mid_2", "side", "read", "print", "order", "one", "two", "three", "four"),
    "member_type": NAMES,
    "metadata": JSON,
    "name": NAMES,
    "properties": JSON,
    "relation_type": NAMES,
    "resource_type": ("invoice", "invoice", "invoice", "order", "order", "none"),
    "risk_level": ("low", "critical"),
    "scope": ("self", "group", "group_tree", "space", "space", "global"),
}
HOURS: Final = (-30, -1, 1, 30, 9_000)
REASONS: Final = (None, "left", "for a test")


def seed() -> list[Command]:
    """Two Spaces of the same shape, in which much is allowed, as commands."""
    made: list[Command] = []

    def make(noun: str, id_: str, space_id: str | None = None, **values: Any) -> None:
        made.append(Command("create", noun, space_id, identity_of(noun, id_, values), values))

    for n in (0, 1):
        make("user", f"user_{n}", email=f"user{n}@x.example")
    for key in ("invoice", "order"):
        make("resource_type", f"rt_{key}", key=key, display_name=key)
        for action in ("read", "write"):
            make(
                "resource_action",
                f"ra_{key}_{action}",
                resource_type=key,
                key=action,
                display_name=action,
                risk_level="low",
            )
    for n, (action, scope, condition) in enumerate(
        [
            ("read", "group_tree", None),
            ("write", "group", None),
            ("read", "space", {"state": 1}),
            ("write", "self", None),
        ]
    ):
        make("permission", f"perm_{n}", resource_type="invoice", action=action, scope=scope, condition=condition)
    for space_id in SPACES:
        s = space_id[-1]
        make("space", space_id, key=f"space-{s}", name=s)
        for n, (key, parent) in enumerate(
            [("top", None), ("mid", f"group_{s}0"), ("low", f"group_{s}1"), ("side", None)]
        ):
            make("group", f"group_{s}{n}", space_id, key=key, name=key, parent_group_id=parent)
        for n in (0, 1):
            make("member", f"member_{s}{n}", space_id, display_name="M")
            make("user_member", f"um_{s}{n}", space_id, user_id=f"user_{n}", member_id=f"member_{s}{n}")
            make("role", f"role_{s}{n}", space_id, key=f"role{n}", name="R")
        for n in range(4):
            make("role_permission", f"rp_{s}{n}", space_id, role_id=f"role_{s}{n // 2}", permission_id=f"perm_{n}")
        for n, anchor in enumerate([f"group_{s}0", f"group_{s}2", None]):
            role_id = f"role_{s}{0 if anchor else 1}"
            make(
                "member_role",
                f"mr_{s}{n}",
                space_id,
                member_id=f"member_{s}{n % 2}",
                role_id=role_id,
                scope_anchor_group_id=anchor,
            )
        for n, group in enumerate([f"group_{s}2", f"group_{s}1", f"group_{s}3", None]):
            about = {"group_id": group, "owner_member_id": f"member_{s}{n % 2}", "properties": {"state": 1}}
            make("resource", f"x_{s}{n}", space_id, resource_type="invoice", **about)
    return made


def identity_of(noun: str, id_: str, values: Row) -> tuple[str, ...]:
    """What tells a row from all others of its noun."""
    return (values["resource_type"], id_) if noun == "resource" else (id_,)


def draw_creation(chance: Random, graph: Graph, now: datetime, nouns: tuple[str, ...] = tuple(DEFAULTS)) -> Command:
    """A row to be made, in a Space that may not be there, under an id that may be taken."""
    noun = chance.choice(nouns)
    space_id = chance.choice([*SPACES, *SPACES, *SPACES, "space_new", "none"]) if noun in IN_SPACE else None
    values = {field: chance.choice(VALUES[field]) for field in DEMANDED.get(noun, ())}
    for field, target in LINKS.get(noun, {}).items():
        if field != "space_id":
            values[field] = _link(chance, graph, target, space_id, is_optional=field in DEFAULTS[noun])
    more = [*(field for field in CHANGEABLE[noun] if field in DEFAULTS[noun] and field not in values), "metadata"]
    values |= _values(chance, graph, noun, space_id, _some(chance, more), now)
    taken = sorted(row["id"] for row in graph.of(noun))
    free = (
        next(id_ for n in count() if (id_ := f"{noun}_{n}") not in taken)
        if noun != "space" or "space_new" in taken
        else "space_new"
    )
    id_ = chance.choice([free] * 19 + taken[-1:])
    return Command("create", noun, space_id, identity_of(noun, id_, values), values, chance.choice(REASONS))


def draw_grant_again(chance: Random, graph: Graph) -> Command:
    """What was granted once, revoked or not, asked for anew, in its own Space or in another."""
    grants = sorted(graph.of("member_role"), key=lambda row: (row["status"] != "revoked", row["id"]))
    revoked = [row for row in grants if row["status"] == "revoked"]
    grant = chance.choice(revoked if revoked and chance.random() < 0.8 else grants)
    values = {field: grant[field] for field in LINKS["member_role"]}
    space_id = chance.choice([grant["space_id"]] * 4 + [*SPACES])
    return Command("create", "member_role", space_id, (chance.choice([grant["id"], "another"]),), values)


def draw_update(chance: Random, graph: Graph, now: datetime) -> Command:
    """Fields of a row to be changed, perhaps to what they are."""
    noun = chance.choice([*DEFAULTS, "member_role", "user_member", "resource", "resource"])
    place = draw_place(chance, graph, noun)
    fields = _some(chance, [*CHANGEABLE[noun], "metadata"], least=1)
    values = _values(chance, graph, noun, place.space_id, fields, now)
    return place._replace(verb="update", values=values)


def draw_end(chance: Random, graph: Graph, nouns: tuple[str, ...] = tuple(DEFAULTS), *, back: bool = False) -> Command:
    """A row to be disabled, revoked or archived, or to be restored; grants and bindings can't be restored."""
    noun = chance.choice([noun for noun in nouns if not back or ENDED.get(noun) != "revoked"])
    place = draw_place(chance, graph, noun, lambda row: (row["status"] == "active") != back)
    if back:
        return place._replace(verb="restore")
    return place._replace(verb="end", reason=place.reason or "left")


def draw_move(chance: Random, graph: Graph) -> Command:
    """A group to be put elsewhere, perhaps below itself, into another Space, or where it is; perhaps under another key."""
    place = draw_place(chance, graph, "group")
    values = {"parent_group_id": _link(chance, graph, "group", place.space_id, is_optional=True)}
    if chance.random() < 0.5:
        values["key"] = chance.choice(VALUES["key"])
    else:
        row = graph.with_id("group", place.identity[0])
        values |= {} if row is None else {"key": row["key"]}
    return place._replace(verb="move", values=values)


def draw_place(chance: Random, graph: Graph, noun: str, fits: Callable[[Row], bool] = lambda _: True) -> Command:
    """A command, not told yet which, on a row that may not be there or in another Space, with an If-Match that may not match."""
    rows = sorted(graph.rows[noun])
    fitting = [identity for identity in rows if fits(graph.rows[noun][identity])]
    rows = fitting if fitting and chance.random() < 0.9 else rows
    nothing = ("invoice", "none") if noun == "resource" else ("none",)
    identity = chance.choice(rows) if rows and chance.random() < 0.93 else nothing
    row = graph.rows[noun].get(identity)
    own = row["space_id"] if row is not None and noun in IN_SPACE else SPACES[0]
    space_id = chance.choice([own] * 25 + [*SPACES, "none"]) if noun in IN_SPACE else None
    current = f'"{row["revision"] if row else 1}"'
    if_match = chance.choice([None] * 16 + [current, f'"1", {current}', "*", '"1"', f"W/{current}"])
    return Command("", noun, space_id, identity, {}, chance.choice(REASONS), if_match)


def _values(chance: Random, graph: Graph, noun: str, space_id: str | None, fields: list[str], now: datetime) -> Row:
    values: Row = {}
    for field in fields:
        if field in LINKS.get(noun, {}):
            values[field] = _link(chance, graph, LINKS[noun][field], space_id, is_optional=True)
        elif field in {"expires_at", "not_before"}:
            hours = chance.choice((None, *HOURS))
            values[field] = None if hours is None else (now + timedelta(hours=hours)).isoformat()
        else:
            values[field] = chance.choice(VALUES[field])
    return values


def _link(chance: Random, graph: Graph, target: str, space_id: str | None, *, is_optional: bool) -> str | None:
    """An id to refer to: most often of the same Space, sometimes of another, or of nothing."""
    own = sorted(row["id"] for row in graph.of(target) if row.get("space_id") in {None, space_id})
    all_ids = sorted(row["id"] for row in graph.of(target))
    ids = chance.choice([own] * 5 + [all_ids, ["none"]] + ([[None]] if is_optional else [])) or ["none"]
    return chance.choice(ids)


def _some(chance: Random, fields: list[str], least: int = 0) -> list[str]:
    """Some of the fields, most often few."""
    return chance.sample(fields, min(len(fields), max(least, chance.choice((0, 1, 1, 2, 3)))))
