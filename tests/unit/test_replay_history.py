"""The history that a replay derives from: a row is the `after` of its last event, and groups follow those above them."""

from __future__ import annotations

from typing import Any

import pytest

from shared.ctl.history import Change, History, UnreadableChange
from shared.ctl.trace import ActorIds, Question

SPACE = "space_a"


def asked(resource_type: str = "doc", member_id: str = "m") -> Question:
    """A question about the resource r of a type."""
    actor = ActorIds(member_id=member_id, space_id=SPACE, user_id="u", user_member_id="um")
    return Question(action="read", actor=actor, resource_id="r", resource_type=resource_type)


def grant(**changes: Any) -> dict[str, Any]:
    """A grant's row."""
    row = {"id": "mr", "member_id": "m", "role_id": "role", "scope_anchor_group_id": None, "status": "active"}
    return row | {"expires_at": None, "not_before": None, "space_id": SPACE} | changes


def group(path: str, **changes: Any) -> dict[str, Any]:
    """A group's row; its id is the last of its path."""
    return {"id": path.rpartition(".")[2], "path": path, "space_id": SPACE, "status": "active"} | changes


def resource(**changes: Any) -> dict[str, Any]:
    """A resource's row."""
    row = {"id": "r", "resource_type": "doc", "external_id": None, "group_id": None, "owner_member_id": None}
    return row | {"properties": {}, "space_id": SPACE, "status": "active"} | changes


ROLE = {"id": "role", "key": "reader", "space_id": SPACE, "status": "active"}
HOLDING = {"id": "rp", "role_id": "role", "permission_id": "p", "status": "active"}
PERMISSION = {
    "id": "p",
    "resource_type": "doc",
    "action": "read",
    "scope": "space",
    "condition": None,
    "status": "active",
}


def told(*events: tuple[str, dict[str, Any] | None]) -> History:
    """The history of rows that were written one after the other."""
    history = History()
    for revision, (noun, row) in enumerate(events, start=1):
        history.apply(Change(revision, f"{noun}.written", noun, (row or {"id": "mr"})["id"], None, row))
    return history


def move(history: History, before: dict[str, Any], path: str) -> None:
    """Let a group move to a path."""
    history.apply(Change(99, "group.moved", "group", before["id"], before, before | {"path": path}))


def test_a_grant_that_becomes_another_members_is_the_first_ones_no_more() -> None:
    history = told(("role", ROLE), ("role_permission", HOLDING), ("permission", PERMISSION), ("member_role", grant()))
    assert len(history.facts(asked()).granted) == 1
    history.apply(Change(5, "member_role.changed", "member_role", "mr", grant(), grant(member_id="other")))
    assert history.facts(asked()).granted == ()
    assert len(history.facts(asked(member_id="other")).granted) == 1


@pytest.mark.parametrize(
    "noun, row",
    [
        ("member_role", grant(status="revoked")),
        ("role_permission", HOLDING | {"status": "disabled"}),
        ("permission", PERMISSION | {"status": "disabled"}),
        ("member_role", None),
    ],
)
def test_what_is_not_active_is_not_granted(noun: str, row: dict[str, Any] | None) -> None:
    events = [("role", ROLE), ("role_permission", HOLDING), ("permission", PERMISSION), ("member_role", grant())]
    assert told(*events, (noun, row)).facts(asked()).granted == ()


def test_two_resources_of_one_id_are_two() -> None:
    history = told(("resource", resource()), ("resource", resource(resource_type="order", external_id="e")))
    assert [history.facts(asked(name)).target.resource.external_id for name in ("doc", "order")] == [None, "e"]


def test_an_action_of_a_type_that_is_not_registered_is_none() -> None:
    action = {"id": "a", "resource_type": "doc", "key": "read", "risk_level": "low", "status": "active"}
    history = told(("resource_action", action))
    assert history.facts(asked()).registry.action is None
    history.apply(Change(2, "t.t", "resource_type", "t", None, {"id": "t", "key": "doc", "status": "disabled"}))
    assert history.facts(asked()).registry.action is not None


@pytest.mark.parametrize(
    "path, moved",
    [
        ("a.b.c", "x.b.c"),
        ("a.b", "x.b"),
        ("a.bc", "a.bc"),
        ("a", "a"),
        ("a.b.b", "x.b.b"),
    ],
)
def test_what_lies_below_a_group_follows_it_and_nothing_else_does(path: str, moved: str) -> None:
    history = told(("group", group(path, id="g")), ("resource", resource(group_id="g")))
    move(history, group("a.b", id="above"), "x.b")
    found = history.facts(asked()).target.group
    assert found is not None
    assert found.path == moved


def test_a_group_of_another_space_stays_where_it_is() -> None:
    history = told(("group", group("a.b.c", id="g", space_id="other")), ("resource", resource(group_id="g")))
    move(history, group("a.b"), "x.b")
    found = history.facts(asked()).target.group
    assert found is not None
    assert found.path == "a.b.c"


@pytest.mark.parametrize(
    "noun, row, fault",
    [
        ("ghost", ROLE, "it has no 'ghost'"),
        ("role", {"id": "role"}, "it has no 'key'"),
        ("role", ROLE | {"status": None}, "Expected `str`, got `null`"),
        ("resource", {"id": "r"}, "it has no 'resource_type'"),
    ],
)
def test_an_event_that_makes_no_row_leaves_none(noun: str, row: dict[str, Any], fault: str) -> None:
    history = told(("role", ROLE), ("role_permission", HOLDING), ("permission", PERMISSION), ("member_role", grant()))
    with pytest.raises(UnreadableChange, match=fault):
        history.apply(Change(9, "any.any", noun, row["id"], None, row))
    assert len(history.facts(asked()).granted) == (0 if noun == "role" else 1)
