"""Conditions: an object of properties and the values they must have, compared as JSON compares."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.authz.engine import decide
from services.authz.model import Verdict
from tests.unit.worlds import NOW, PLAIN, QUESTION, granted, holding, put


def ask(condition: dict[str, Any] | None, properties: dict[str, Any], **kind: Any) -> Verdict:
    """The verdict on a target with these properties, asked through one candidate with this condition."""
    facts = put(PLAIN, "target.resource.properties", properties)
    return decide(holding(granted(condition=condition, **kind), facts=facts), QUESTION, NOW)


@pytest.mark.parametrize(
    ("condition", "properties"),
    [
        (None, {}),
        (None, {"tier": "gold"}),
        ({}, {}),
        ({}, {"tier": "gold"}),
        ({"tier": "gold"}, {"tier": "gold"}),
        ({"tier": "gold"}, {"tier": "gold", "paid": False}),
        ({"tier": ["silver", "gold"]}, {"tier": "gold"}),
        ({"tier": ["gold"]}, {"tier": "gold"}),
        ({"tier": "gold", "paid": False}, {"paid": False, "tier": "gold"}),
        ({"tier": ["silver", "gold"], "paid": [True, False]}, {"tier": "gold", "paid": False}),
        ({"count": 0}, {"count": 0}),
        ({"paid": False}, {"paid": False}),
        ({"note": None}, {"note": None}),
        ({"note": [None]}, {"note": None}),
        ({"note": ""}, {"note": ""}),
        ({"count": 2**53 - 1}, {"count": 2**53 - 1}),
        ({"place": {"city": "Kyoto", "floor": 1}}, {"place": {"floor": 1, "city": "Kyoto"}}),
        ({"place": [{"city": "Kyoto"}, "nowhere"]}, {"place": {"city": "Kyoto"}}),
        ({"tags": [["a", "b"]]}, {"tags": ["a", "b"]}),
        ({"tags": [[]]}, {"tags": []}),
        ({"": 1}, {"": 1}),
        ({"a.b": 1}, {"a.b": 1}),
        ({"name": "Zoë"}, {"name": "Zoë"}),
    ],
)
def test_a_condition_is_met(condition: dict[str, Any] | None, properties: dict[str, Any]) -> None:
    assert ask(condition, properties).decision == "allow"


@pytest.mark.parametrize(
    ("condition", "properties"),
    [
        ({"tier": "gold"}, {}),
        ({"note": None}, {}),  # absent is not null
        ({"tier": "gold"}, {"tier": "Gold"}),
        ({"tier": "gold"}, {"tier": "golden"}),
        ({"tier": "gold"}, {"tier": None}),
        ({"tier": "gold"}, {"Tier": "gold"}),
        ({"tier": ["silver", "gold"]}, {"tier": "bronze"}),
        ({"tier": []}, {"tier": "gold"}),  # one of no values
        ({"tier": []}, {"tier": []}),
        ({"tier": "gold", "paid": True}, {"tier": "gold"}),
        ({"tier": "gold", "paid": True}, {"tier": "gold", "paid": False}),
        ({"paid": True}, {"paid": 1}),
        ({"paid": 1}, {"paid": True}),
        ({"paid": False}, {"paid": 0}),
        ({"paid": [0, ""]}, {"paid": False}),
        ({"count": 1}, {"count": "1"}),
        ({"count": 0}, {"count": None}),
        ({"count": 2**53 - 1}, {"count": 2**53 - 2}),
        ({"tags": ["a", "b"]}, {"tags": ["a", "b"]}),  # a list is always a choice of values
        ({"tags": [["a", "b"]]}, {"tags": ["b", "a"]}),
        ({"tags": [["a"]]}, {"tags": "a"}),
        ({"tags": "a"}, {"tags": ["a"]}),
        ({"flags": [[True]]}, {"flags": [1]}),
        ({"deep": {"in": {"side": [1, {"flag": True}]}}}, {"deep": {"in": {"side": [1, {"flag": 1}]}}}),
        ({"place": {"city": "Kyoto"}}, {"place": {"city": "Kyoto", "floor": 1}}),
        ({"place": {"city": "Kyoto", "floor": 1}}, {"place": {"city": "Kyoto"}}),
        ({"place": {}}, {"place": []}),
        ({"a.b": 1}, {"a": {"b": 1}}),  # a name is a name, not a path
        ({"name": "Zo\u00eb"}, {"name": "Zoe\u0308"}),  # JSON compares code points
    ],
)
def test_a_condition_is_not_met(condition: dict[str, Any], properties: dict[str, Any]) -> None:
    verdict = ask(condition, properties)
    assert (verdict.decision, verdict.deny_code) == ("deny", "CONDITION_NOT_MET")


@pytest.mark.parametrize("scope", ["self", "group", "group_tree", "space"])
def test_a_condition_binds_in_every_scope_that_covers(scope: str) -> None:
    owned = put(
        put(PLAIN, "target.resource.owner_member_id", "member_reviewer"), "target.resource.properties", {"n": 1}
    )
    for wanted, code in ((1, None), (2, "CONDITION_NOT_MET")):
        facts = holding(granted(scope, "finance.apac", condition={"n": wanted}), facts=owned)
        assert decide(facts, QUESTION, NOW).deny_code == code


@pytest.mark.parametrize(
    ("scope", "anchor", "code"),
    [
        ("self", None, "SCOPE_OUT_OF_BOUNDS"),
        ("group_tree", "legal", "SCOPE_OUT_OF_BOUNDS"),
        ("group", None, "SCOPE_ANCHOR_MISSING"),
        ("galaxy", None, "SCOPE_OUT_OF_BOUNDS"),
        ("global", None, "GLOBAL_SCOPE_DISABLED"),
    ],
)
def test_a_condition_is_asked_only_of_what_the_scope_covers(scope: str, anchor: str | None, code: str) -> None:
    assert ask({"tier": "gold"}, {"tier": "gold"}, scope=scope, anchor=anchor).deny_code == code
    assert ask({"tier": "gold"}, {}, scope=scope, anchor=anchor).deny_code == code


def test_permissions_that_differ_in_their_condition_add_up() -> None:
    facts = holding(
        granted(condition={"tier": "gold"}, permission_id="permission_gold"),
        granted(condition={"tier": "silver"}, permission_id="permission_silver"),
        facts=put(PLAIN, "target.resource.properties", {"tier": "silver"}),
    )
    verdict = decide(facts, QUESTION, NOW)
    assert verdict.decision == "allow"
    assert [(one.permission.id, one.scope_check.deny_code) for one in verdict.candidates] == [
        ("permission_gold", "CONDITION_NOT_MET"),
        ("permission_silver", None),
    ]


def test_the_reason_names_the_first_property_by_name_that_is_not_met() -> None:
    for condition in ({"b": 1, "a": 1, "c": 1}, {"c": 1, "a": 1, "b": 1}):
        assert " b " in ask(condition, {"a": 1, "c": 2}).reason


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["", "0", "a", "true"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=5,
)


def _same(left: Any, right: Any) -> bool:
    """JSON equality by structure."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(_same, left, right))
    return bool(left == right)


@given(_json, _json)
def test_a_value_in_a_list_of_one_is_met_exactly_by_its_equal(wanted: Any, actual: Any) -> None:
    assert (ask({"p": [wanted]}, {"p": actual}).decision == "allow") is _same(wanted, actual)
    assert ask({"p": [wanted]}, {"p": wanted}).decision == "allow"


@given(st.lists(_json, max_size=4), _json)
def test_a_list_is_met_by_any_of_its_values_in_any_order(choice: list[Any], actual: Any) -> None:
    expected = any(_same(wanted, actual) for wanted in choice)
    assert (ask({"p": choice}, {"p": actual}).decision == "allow") is expected
    assert (ask({"p": choice[::-1]}, {"p": actual}).decision == "allow") is expected


@given(st.dictionaries(st.sampled_from("abc"), _json), st.dictionaries(st.sampled_from("abc"), st.integers(0, 1)))
def test_demanding_more_never_allows_more(properties: dict[str, Any], condition: dict[str, Any]) -> None:
    if ask(condition, properties).decision == "allow":
        for name in condition:
            fewer = {other: value for other, value in condition.items() if other != name}
            assert ask(fewer, properties).decision == "allow"
