"""The Same-Space law at its third place: whatever the store or a caller sent, the evaluation checks it once more."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest

from services.authz.engine import decide
from services.authz.model import Facts
from tests.unit.worlds import ABROAD, NOW, PLAIN, QUESTION, TICK, granted, group, holding, put

FOREIGN = "CROSS_SPACE_VIOLATION"
ROOTED = [
    "actor.member.space_id",
    "actor.user_member.space_id",
    "target.resource.space_id",
    "target.group.space_id",
    "granted.role.space_id",
    "granted.grant.space_id",
    "granted.anchor.space_id",
]


def code(facts: Facts) -> str | None:
    """The deny code of the plain question in these facts."""
    return decide(facts, QUESTION, NOW).deny_code


@pytest.mark.parametrize("where", ROOTED)
@pytest.mark.parametrize("space_id", [ABROAD, "space_hom", "space_home2", "SPACE_HOME", ""])
def test_each_thing_that_lies_in_another_space_denies(where: str, space_id: str) -> None:
    assert code(put(PLAIN, where, space_id)) == FOREIGN


@pytest.mark.parametrize("places", [*combinations(ROOTED, 2), tuple(ROOTED)])
def test_foreign_things_do_not_excuse_one_another(places: tuple[str, ...]) -> None:
    """Also where all of them lie in the *same* other Space: the actor's Space is the one asked for."""
    facts = PLAIN
    for where in places:
        facts = put(facts, where, ABROAD)
    assert code(facts) == FOREIGN


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("actor.user_member.user_id", "user_bob"),
        ("actor.user_member.member_id", "member_creator"),
        ("actor.user_member.space_id", ABROAD),
    ],
)
def test_the_binding_joins_exactly_this_user_member_and_space(where: str, value: str) -> None:
    assert code(put(PLAIN, where, value)) == FOREIGN


def test_the_grant_is_held_by_the_actors_member() -> None:
    assert code(put(PLAIN, "granted.grant.member_id", "member_creator")) == FOREIGN


@pytest.mark.parametrize("where", ["granted.anchor", "target.group"])
@pytest.mark.parametrize("scope", ["group", "group_tree", "self", "space", "global", "galaxy"])
def test_a_foreign_group_denies_whatever_its_status_and_whether_or_not_the_scope_needs_it(
    where: str, scope: str
) -> None:
    for status in ("active", "disabled"):
        facts = put(PLAIN, where, group("finance.apac", space_id=ABROAD, status=status))
        assert code(put(facts, "granted.permission.scope", scope)) == FOREIGN


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("role.space_id", ABROAD),
        ("grant.space_id", ABROAD),
        ("anchor.space_id", ABROAD),
        ("grant.member_id", "member_creator"),
    ],
)
@pytest.mark.parametrize("role", ["a_role", "z_role"])
@pytest.mark.parametrize("scope", ["group_tree", "self", "space", "global"])
def test_one_foreign_candidate_denies_the_whole_request(where: str, value: str, role: str, scope: str) -> None:
    """Before or after the covering one in the stable order, and whether or not it covers itself."""
    foreign = put(granted(scope, role=role, grant_id="grant_2"), where, value)
    verdict = decide(holding(granted(role="m_role"), foreign), QUESTION, NOW)
    assert (verdict.deny_code, verdict.decisive.step) == (FOREIGN, "same_space")
    assert len(verdict.candidates) == 2


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("grant.status", "revoked"),
        ("role.status", "disabled"),
        ("grant.expires_at", NOW - TICK),
        ("grant.not_before", NOW + TICK),
        ("permission.action", "read"),
        ("permission.resource_type", "contract"),
    ],
)
@pytest.mark.parametrize("foreign", ["role.space_id", "grant.space_id", "anchor.space_id", "grant.member_id"])
def test_what_is_no_candidate_is_not_reasoned_from_and_so_cannot_violate(where: str, value: Any, foreign: str) -> None:
    idle = put(put(granted(grant_id="grant_2"), where, value), foreign, ABROAD)
    assert code(holding(granted(), idle)) is None
    assert code(holding(idle)) == "NO_MATCHING_PERMISSION"


def test_an_equal_path_in_another_space_is_another_group() -> None:
    abroad = group("finance.apac", space_id=ABROAD)
    for scope in ("group", "group_tree"):
        for target, anchor in ((group("finance.apac"), abroad), (abroad, group("finance.apac"))):
            facts = holding(granted(scope, anchor), facts=put(PLAIN, "target.group", target))
            (candidate,) = decide(facts, QUESTION, NOW).candidates
            assert candidate.scope_check.deny_code == "SCOPE_OUT_OF_BOUNDS"
            assert code(facts) == FOREIGN


def test_a_world_that_lies_in_another_space_altogether_is_at_home_there() -> None:
    facts = PLAIN
    for where in [*ROOTED, "actor.space.id"]:
        field = where.removesuffix(".space_id") + ".space_id" if where != "actor.space.id" else where
        facts = put(facts, field, ABROAD)
    assert decide(facts, put(QUESTION, "actor.space_id", ABROAD), NOW).decision == "allow"
