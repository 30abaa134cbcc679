"""What each scope covers, with its edges: scope by scope."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.authz.engine import decide
from services.authz.model import Group, ScopeCheck
from tests.unit.worlds import ABROAD, NOW, PLAIN, QUESTION, granted, group, holding, put

COVERED = None
OUT = "SCOPE_OUT_OF_BOUNDS"
NO_ANCHOR = "SCOPE_ANCHOR_MISSING"
NO_GROUP = "TARGET_GROUP_MISSING"

OWNED = put(PLAIN, "target.resource.owner_member_id", "member_reviewer")
OWNERLESS = put(PLAIN, "target.resource.owner_member_id", None)
NO_RESOURCE = put(PLAIN, "target.resource", None)

ANY_ANCHOR = [None, group("finance"), group("finance", status="disabled"), group("legal")]


def check(scope: str, anchor: Group | str | None, *, facts: Any = PLAIN, **kind: Any) -> ScopeCheck:
    """How the one candidate of this scope and anchor relates to the target of the facts."""
    (candidate,) = decide(holding(granted(scope, anchor, **kind), facts=facts), QUESTION, NOW).candidates
    return candidate.scope_check


def aimed(target_group: Group | str | None) -> Any:
    """The plain world with its target in this group."""
    return put(PLAIN, "target.group", group(target_group) if isinstance(target_group, str) else target_group)


def group_codes(anchor: Group | str | None, target_group: Group | str | None) -> tuple[str | None, str | None]:
    """What scope `group` and scope `group_tree` say of the same pair."""
    facts = aimed(target_group)
    return check("group", anchor, facts=facts).deny_code, check("group_tree", anchor, facts=facts).deny_code


@pytest.mark.parametrize(
    ("anchor", "target_group", "code_of_group", "code_of_tree"),
    [
        ("finance", "finance", COVERED, COVERED),
        ("finance", "finance.apac", OUT, COVERED),
        ("finance", "finance.apac.tokyo", OUT, COVERED),
        ("finance", "financeops", OUT, OUT),
        ("finance", "financeops.apac", OUT, OUT),
        ("finance", "finance_apac", OUT, OUT),
        ("finance", "legal.finance", OUT, OUT),
        ("finance", "legal", OUT, OUT),
        ("finance", "fin", OUT, OUT),
        ("finance", "Finance", OUT, OUT),
        ("finance.apac", "finance", OUT, OUT),
        ("finance.apac", "finance.apac", COVERED, COVERED),
        ("finance.apac", "finance.apac.tokyo", OUT, COVERED),
        ("finance.apac", "finance.apacific", OUT, OUT),
        ("finance.apac", "finance.emea", OUT, OUT),
        ("finance.apac", "legal.apac", OUT, OUT),
        ("finance.apac", "finance_apac", OUT, OUT),
        ("finance_apac", "finance.apac", OUT, OUT),
        ("a_b", "axb", OUT, OUT),  # `_` and `.` are letters here, never wildcards
        ("a.b", "axb", OUT, OUT),
        (None, "finance", NO_ANCHOR, NO_ANCHOR),
        ("finance", None, NO_GROUP, NO_GROUP),
        (None, None, NO_ANCHOR, NO_ANCHOR),
        (group("finance", status="disabled"), "finance", NO_ANCHOR, NO_ANCHOR),
        (group("finance", status="disabled"), None, NO_ANCHOR, NO_ANCHOR),
        ("finance", group("finance", status="disabled"), NO_GROUP, NO_GROUP),
        ("legal", group("finance", status="disabled"), NO_GROUP, NO_GROUP),
        (group("finance", space_id=ABROAD), "finance", OUT, OUT),
        (group("finance", space_id=ABROAD), "finance.apac", OUT, OUT),
        ("finance", group("finance", space_id=ABROAD), OUT, OUT),
    ],
)
def test_group_scopes_compare_paths_key_by_key(
    anchor: Group | str | None,
    target_group: Group | str | None,
    code_of_group: str | None,
    code_of_tree: str | None,
) -> None:
    assert group_codes(anchor, target_group) == (code_of_group, code_of_tree)


@pytest.mark.parametrize("scope", ["group", "group_tree"])
def test_groups_known_by_path_alone_are_the_same_where_their_paths_are(scope: str) -> None:
    by_path = put(group("finance"), "id", None)
    assert check(scope, by_path, facts=aimed(by_path)).covered
    assert check(scope, by_path, facts=aimed("finance")).covered
    assert check(scope, "finance", facts=aimed(by_path)).covered
    assert not check(scope, by_path, facts=aimed(put(group("legal"), "id", None))).covered


@pytest.mark.parametrize("anchor", ANY_ANCHOR)
def test_self_covers_what_the_members_own_whatever_the_anchor(anchor: Group | None) -> None:
    assert check("self", anchor, facts=OWNED).deny_code is COVERED
    assert check("self", anchor, facts=PLAIN).deny_code == OUT
    assert check("self", anchor, facts=OWNERLESS).deny_code == OUT


@pytest.mark.parametrize("target_group", [None, group("legal"), group("finance", status="disabled")])
def test_self_and_space_need_no_group(target_group: Group | None) -> None:
    assert check("self", None, facts=put(OWNED, "target.group", target_group)).covered
    assert check("space", None, facts=aimed(target_group)).covered


def test_self_goes_by_the_member_not_by_the_user() -> None:
    assert check("self", None, facts=put(PLAIN, "target.resource.owner_member_id", "user_alice")).deny_code == OUT


@pytest.mark.parametrize("anchor", ANY_ANCHOR)
def test_space_covers_all_of_the_actors_space_whatever_the_anchor(anchor: Group | None) -> None:
    for facts in (PLAIN, OWNED, OWNERLESS, aimed(None)):
        assert check("space", anchor, facts=facts).deny_code is COVERED
    assert check("space", anchor, facts=put(PLAIN, "target.resource.space_id", ABROAD)).deny_code == OUT


@pytest.mark.parametrize("anchor", ANY_ANCHOR)
@pytest.mark.parametrize("facts", [PLAIN, OWNED, OWNERLESS, NO_RESOURCE, aimed(None)])
def test_global_never_covers(facts: Any, anchor: Group | None) -> None:
    assert check("global", anchor, facts=facts).deny_code == "GLOBAL_SCOPE_DISABLED"


@pytest.mark.parametrize("scope", ["galaxy", "", "SPACE", "Self", "group ", "groups", "group_trees", "tree", "*"])
@pytest.mark.parametrize("anchor", ANY_ANCHOR)
@pytest.mark.parametrize("facts", [OWNED, NO_RESOURCE, aimed(None)])
def test_an_unknown_scope_word_never_covers(scope: str, anchor: Group | None, facts: Any) -> None:
    assert check(scope, anchor, facts=facts).deny_code == OUT


@pytest.mark.parametrize(
    ("scope", "anchor", "code"),
    [
        ("self", "finance", OUT),
        ("space", "finance", OUT),
        ("group", "finance", NO_GROUP),
        ("group_tree", "finance", NO_GROUP),
        ("group", None, NO_ANCHOR),
        ("group_tree", None, NO_ANCHOR),
        ("global", None, "GLOBAL_SCOPE_DISABLED"),
    ],
)
def test_a_target_that_does_not_exist_is_covered_by_nothing(scope: str, anchor: str | None, code: str) -> None:
    for facts in (NO_RESOURCE, put(NO_RESOURCE, "target.group", None)):
        assert check(scope, anchor, facts=facts).deny_code == code
        assert check(scope, anchor, facts=facts, condition={"tier": "gold"}).deny_code == code


@pytest.mark.parametrize("scope", ["self", "group", "group_tree", "space", "global", "galaxy"])
def test_the_rule_names_the_scope(scope: str) -> None:
    assert check(scope, "finance").rule == scope


DEEP = ".".join(f"level_{level}" for level in range(1000))
PARENT, _, LAST = DEEP.rpartition(".")


@pytest.mark.parametrize(
    ("anchor", "target_group", "code_of_group", "code_of_tree"),
    [
        ("level_0", DEEP, OUT, COVERED),
        (PARENT, DEEP, OUT, COVERED),
        (DEEP, DEEP, COVERED, COVERED),
        (DEEP, PARENT, OUT, OUT),
        (DEEP, DEEP + "0", OUT, OUT),
        (DEEP + "0", DEEP, OUT, OUT),
        (f"{PARENT}.other", DEEP, OUT, OUT),
        (DEEP.replace("level_500.", "level_five_hundred."), DEEP, OUT, OUT),
        (DEEP.replace("level_0.", "level_zero.", 1), DEEP, OUT, OUT),
    ],
    ids=["root", "parent", "same", "child", "longer key", "shorter key", "sibling", "middle differs", "root differs"],
)
def test_an_answer_at_depth_1000_is_right(
    anchor: str, target_group: str, code_of_group: str | None, code_of_tree: str | None
) -> None:
    assert group_codes(anchor, target_group) == (code_of_group, code_of_tree)


_keys = st.lists(st.sampled_from(["a", "aa", "a_", "b"]), min_size=1, max_size=6)


@given(_keys, _keys)
def test_a_tree_covers_exactly_the_paths_that_continue_its_keys(anchor: list[str], target: list[str]) -> None:
    facts = aimed(".".join(target))
    assert check("group", ".".join(anchor), facts=facts).covered is (anchor == target)
    assert check("group_tree", ".".join(anchor), facts=facts).covered is (target[: len(anchor)] == anchor)
