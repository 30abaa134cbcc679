"""Every deny code has its faults, and of several faults the earliest step's code is given."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import chain, combinations, permutations
from typing import Any

import pytest

from services.authz.engine import NEAREST_MISS, decide
from services.authz.model import Facts
from tests.unit.oracle import EVERY_DENY_CODE, NEAREST_FIRST
from tests.unit.worlds import ABROAD, NOW, PLAIN, QUESTION, TICK, granted, group, holding, put

# One edit of the plain world each: where, and what stands there instead. The first of a code is used in combinations.
FAULTS: dict[str, list[tuple[str, Any]]] = {
    "ACTOR_NOT_FOUND": [
        ("actor.user", None),
        ("actor.space", None),
        ("actor.member", None),
        ("actor.user_member", None),
    ],
    "ACTOR_USER_INACTIVE": [("actor.user.status", "disabled"), ("actor.user.status", "of some later kind")],
    "ACTOR_MEMBER_INACTIVE": [("actor.member.status", "disabled"), ("actor.member.status", "Active")],
    "SPACE_INACTIVE": [("actor.space.status", "disabled"), ("actor.space.status", "")],
    "USER_MEMBER_REVOKED": [("actor.user_member.status", "revoked"), ("actor.user_member.status", "disabled")],
    "USER_MEMBER_EXPIRED": [
        ("actor.user_member.expires_at", NOW - TICK),
        ("actor.user_member.expires_at", NOW - timedelta(days=4000)),
    ],
    "INVALID_RESOURCE_TYPE": [
        ("registry.resource_type", None),
        ("registry.resource_type.status", "disabled"),
    ],
    "INVALID_RESOURCE_ACTION": [("registry.action", None), ("registry.action.status", "disabled")],
    "RESOURCE_NOT_FOUND": [("target.resource", None)],
    "RESOURCE_INACTIVE": [("target.resource.status", "archived"), ("target.resource.status", "disabled")],
    "CROSS_SPACE_VIOLATION": [
        ("target.group.space_id", ABROAD),
        ("target.resource.space_id", ABROAD),
        ("actor.member.space_id", ABROAD),
        ("actor.user_member.space_id", ABROAD),
        ("actor.user_member.user_id", "user_bob"),
        ("actor.user_member.member_id", "member_creator"),
        ("granted.role.space_id", ABROAD),
        ("granted.grant.space_id", ABROAD),
        ("granted.anchor.space_id", ABROAD),
        ("granted.grant.member_id", "member_creator"),
    ],
    "NO_MATCHING_PERMISSION": [
        ("granted", ()),
        ("granted.grant.status", "revoked"),
        ("granted.role.status", "disabled"),
        ("granted.grant.not_before", NOW + TICK),
        ("granted.grant.expires_at", NOW - TICK),
        ("granted.permission.action", "approve_all"),
        ("granted.permission.resource_type", "invoice_line"),
    ],
    "CONDITION_NOT_MET": [("granted.permission.condition", {"tier": "gold"})],
    "SCOPE_OUT_OF_BOUNDS": [
        ("target.group", group("legal.emea")),
        ("granted.anchor", group("finance.emea")),
        ("granted.permission.scope", "group"),
        ("granted.permission.scope", "self"),
        ("granted.permission.scope", "universe"),
    ],
    "TARGET_GROUP_MISSING": [("target.group", None), ("target.group.status", "disabled")],
    "SCOPE_ANCHOR_MISSING": [("granted.anchor", None), ("granted.anchor.status", "disabled")],
    "GLOBAL_SCOPE_DISABLED": [("granted.permission.scope", "global")],
}
CASES = [(code, where, value) for code, faults in FAULTS.items() for where, value in faults]

# The first fault of each code up to the search for candidates, in the order in which docs/architecture.md lists the codes,
# then one that leaves a candidate which does not cover.
STEPWISE = {code: FAULTS[code][0] for code in FAULTS if code not in NEAREST_FIRST}
STEPWISE["SCOPE_OUT_OF_BOUNDS"] = FAULTS["SCOPE_OUT_OF_BOUNDS"][3]


def test_the_table_names_every_deny_code() -> None:
    assert set(FAULTS) == EVERY_DENY_CODE


@pytest.mark.parametrize(("code", "where", "value"), CASES)
def test_a_fault_is_denied_with_its_code(code: str, where: str, value: Any) -> None:
    verdict = decide(put(PLAIN, where, value), QUESTION, NOW)
    assert (verdict.decision, verdict.deny_code) == ("deny", code)


@pytest.mark.parametrize(("earlier", "later"), [*combinations(STEPWISE, 2)])
def test_of_two_faults_the_earlier_step_is_named(earlier: str, later: str) -> None:
    for order in ([earlier, later], [later, earlier]):
        facts = PLAIN
        for code in order:
            facts = put(facts, *STEPWISE[code])
        assert decide(facts, QUESTION, NOW).deny_code == earlier


def test_of_any_set_of_faults_the_earliest_step_is_named() -> None:
    for chosen in chain.from_iterable(combinations(STEPWISE, size) for size in range(1, len(STEPWISE) + 1)):
        facts = PLAIN
        for code in chosen:
            facts = put(facts, *STEPWISE[code])
        assert decide(facts, QUESTION, NOW).deny_code == chosen[0], chosen


# Five candidates that do not cover a target outside any group, each for a reason of its own.
MISSES: dict[str, dict[str, Any]] = {
    "CONDITION_NOT_MET": {"scope": "space", "condition": {"tier": "gold"}},
    "SCOPE_OUT_OF_BOUNDS": {"scope": "self"},
    "TARGET_GROUP_MISSING": {"scope": "group_tree", "anchor": "finance"},
    "SCOPE_ANCHOR_MISSING": {"scope": "group", "anchor": None},
    "GLOBAL_SCOPE_DISABLED": {"scope": "global"},
}
ASTRAY = put(PLAIN, "target.group", None)


def considered_in_order(kinds: tuple[dict[str, Any], ...]) -> Facts:
    """A world whose candidates are of these kinds, their role keys making the given order the stable one."""
    return holding(
        *(
            granted(**kind, role=f"role_{position}", grant_id=f"grant_{position}")
            for position, kind in enumerate(kinds)
        ),
        facts=ASTRAY,
    )


def every_order_of(codes: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Each arrangement of each non-empty choice of the codes."""
    for size in range(1, len(codes) + 1):
        yield from permutations(codes, size)


def test_the_nearest_miss_is_named_whatever_the_order_of_the_candidates() -> None:
    assert tuple(MISSES) == NEAREST_FIRST == NEAREST_MISS
    for order in every_order_of(NEAREST_FIRST):
        verdict = decide(considered_in_order(tuple(MISSES[code] for code in order)), QUESTION, NOW)
        assert tuple(one.scope_check.deny_code for one in verdict.candidates) == order
        assert verdict.deny_code == min(order, key=NEAREST_FIRST.index)


def test_one_covering_candidate_allows_wherever_it_stands_among_misses() -> None:
    for order in every_order_of((*NEAREST_FIRST, "covers")):
        if "covers" in order:
            kinds = tuple(MISSES.get(code, {"scope": "space"}) for code in order)
            verdict = decide(considered_in_order(kinds), QUESTION, NOW)
            assert verdict.decision == "allow"
            assert verdict.decisive.candidate == order.index("covers")


def test_the_reason_of_a_near_miss_is_that_of_a_candidate_with_its_code() -> None:
    for order in every_order_of(NEAREST_FIRST):
        verdict = decide(considered_in_order(tuple(MISSES[code] for code in order)), QUESTION, NOW)
        assert verdict.reason in {
            one.scope_check.reason for one in verdict.candidates if one.scope_check.deny_code == verdict.deny_code
        }


@pytest.mark.parametrize("end", ["actor.user_member.expires_at", "granted.grant.expires_at"])
@pytest.mark.parametrize(
    ("expires_at", "decision"),
    [
        (None, "allow"),
        (NOW + timedelta(days=1), "allow"),
        (NOW + TICK, "allow"),
        (NOW, "allow"),
        (NOW - TICK, "deny"),
        (NOW - timedelta(days=1), "deny"),
    ],
)
def test_an_expiry_equal_to_now_is_still_valid(end: str, expires_at: datetime | None, decision: str) -> None:
    assert decide(put(PLAIN, end, expires_at), QUESTION, NOW).decision == decision


@pytest.mark.parametrize(
    ("not_before", "decision"),
    [(None, "allow"), (NOW - TICK, "allow"), (NOW, "allow"), (NOW + TICK, "deny"), (NOW + timedelta(days=1), "deny")],
)
def test_a_beginning_equal_to_now_is_already_valid(not_before: datetime | None, decision: str) -> None:
    assert decide(put(PLAIN, "granted.grant.not_before", not_before), QUESTION, NOW).decision == decision


def test_a_window_of_one_instant_is_valid_in_that_instant_only() -> None:
    facts = holding(granted(not_before=NOW, expires_at=NOW))
    decisions = [decide(facts, QUESTION, NOW + ticks * TICK).decision for ticks in (-1, 0, 1)]
    assert decisions == ["deny", "allow", "deny"]


def test_a_revoked_binding_that_also_expired_is_revoked_first() -> None:
    facts = put(put(PLAIN, "actor.user_member.status", "revoked"), "actor.user_member.expires_at", NOW - TICK)
    assert decide(facts, QUESTION, NOW).deny_code == "USER_MEMBER_REVOKED"
