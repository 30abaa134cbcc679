"""A verdict explains itself: its steps, its candidates in a stable order, what was decisive, and a sentence."""

from __future__ import annotations

from itertools import permutations
from random import Random
from typing import Any

import msgspec
import pytest

from services.authz.engine import STEPS, decide
from services.authz.model import Candidate, Check, Decisive, Facts, Group, Verdict
from tests.unit.chance import seeded_world
from tests.unit.oracle import EVERY_DENY_CODE, NEAREST_FIRST
from tests.unit.worlds import ABROAD, LONG_AGO, NOW, PLAIN, QUESTION, TICK, granted, group, holding, put, retold

STEP_CODES = {
    "actor_exists": {"ACTOR_NOT_FOUND"},
    "actor_active": {
        "ACTOR_USER_INACTIVE",
        "ACTOR_MEMBER_INACTIVE",
        "SPACE_INACTIVE",
        "USER_MEMBER_REVOKED",
        "USER_MEMBER_EXPIRED",
    },
    "action_registered": {"INVALID_RESOURCE_TYPE", "INVALID_RESOURCE_ACTION"},
    "target_exists": {"RESOURCE_NOT_FOUND", "RESOURCE_INACTIVE"},
    "same_space": {"CROSS_SPACE_VIOLATION"},
    "candidates_found": {"NO_MATCHING_PERMISSION"},
    "scope_covered": set(NEAREST_FIRST),
}

# Faults of steps 1 to 5 that leave the plain world's candidate as it is.
EARLY = [
    ("actor.user", None),
    ("actor.space", None),
    ("actor.member", None),
    ("actor.user_member", None),
    ("actor.user.status", "disabled"),
    ("actor.member.status", "disabled"),
    ("actor.space.status", "disabled"),
    ("actor.user_member.status", "revoked"),
    ("actor.user_member.expires_at", LONG_AGO),
    ("registry.resource_type", None),
    ("registry.action", None),
    ("target.resource.status", "archived"),
    ("actor.member.space_id", ABROAD),
    ("actor.user_member.user_id", "user_bob"),
]

SAMPLE = [seeded_world(seed) for seed in range(3000)]


def test_every_deny_code_belongs_to_one_step_and_the_steps_are_those_of_the_engine() -> None:
    assert tuple(STEP_CODES) == STEPS
    assert set().union(*STEP_CODES.values()) == EVERY_DENY_CODE
    assert sum(map(len, STEP_CODES.values())) == len(EVERY_DENY_CODE)


def test_the_checks_are_all_the_steps_in_order_passed_up_to_the_one_that_denied() -> None:
    for world in SAMPLE:
        verdict = decide(*world)
        if verdict.deny_code is None:
            assert verdict.checks == tuple(Check(step=step, result="passed") for step in STEPS)
            continue
        at = next(index for index, step in enumerate(STEPS) if verdict.deny_code in STEP_CODES[step])
        assert verdict.checks == (
            *(Check(step=step, result="passed") for step in STEPS[:at]),
            Check(step=STEPS[at], result="denied", deny_code=verdict.deny_code),
            *(Check(step=step, result="not_reached") for step in STEPS[at + 1 :]),
        )
        assert verdict.decisive == Decisive(step=STEPS[at])


def test_a_deny_has_a_code_and_an_allow_has_none() -> None:
    for world in SAMPLE:
        verdict = decide(*world)
        assert (verdict.decision == "allow") is (verdict.deny_code is None)
        for one in verdict.candidates:
            assert one.scope_check.covered is (one.scope_check.deny_code is None)


def test_an_allow_names_the_first_candidate_that_covers() -> None:
    allowed = [verdict for verdict in (decide(*world) for world in SAMPLE) if verdict.decision == "allow"]
    assert any(verdict.decisive.candidate for verdict in allowed), "some must not be the first of the list"
    for verdict in allowed:
        index = verdict.decisive.candidate
        assert index is not None
        assert verdict.decisive.step == "scope_covered"
        assert [one.scope_check.covered for one in verdict.candidates[: index + 1]] == [False] * index + [True]


@pytest.mark.parametrize(("where", "value"), EARLY)
@pytest.mark.parametrize(
    ("grants", "codes"),
    [
        ([granted()], [None]),
        ([granted(anchor="legal")], ["SCOPE_OUT_OF_BOUNDS"]),
        (
            [granted("self", role="a"), granted("space", role="b"), granted("group", None, role="c")],
            ["SCOPE_OUT_OF_BOUNDS", None, "SCOPE_ANCHOR_MISSING"],
        ),
        ([granted(condition={"tier": "gold"})], ["CONDITION_NOT_MET"]),
        ([granted("global")], ["GLOBAL_SCOPE_DISABLED"]),
        ([], []),
    ],
)
def test_candidates_are_checked_and_shown_also_when_an_earlier_step_denied(
    where: str, value: Any, grants: list[Any], codes: list[str | None]
) -> None:
    facts = holding(*grants, facts=PLAIN)
    verdict = decide(put(facts, where, value), QUESTION, NOW)
    assert verdict.decision == "deny"
    assert STEPS.index(verdict.decisive.step) < STEPS.index("candidates_found")
    assert [one.scope_check.deny_code for one in verdict.candidates] == codes
    assert verdict.candidates == decide(facts, QUESTION, NOW).candidates


def test_a_missing_target_still_shows_every_candidate() -> None:
    facts = put(holding(granted(role="a"), granted("space", role="b")), "target.resource", None)
    verdict = decide(put(facts, "target.group", None), QUESTION, NOW)
    assert verdict.deny_code == "RESOURCE_NOT_FOUND"
    assert [one.scope_check.deny_code for one in verdict.candidates] == ["TARGET_GROUP_MISSING", "SCOPE_OUT_OF_BOUNDS"]


def test_no_facts_at_all_is_a_denial_not_an_error() -> None:
    nothing = PLAIN
    for where in ("actor.user", "actor.space", "actor.member", "actor.user_member", "registry.action"):
        nothing = put(nothing, where, None)
    for where in ("registry.resource_type", "target.resource", "target.group"):
        nothing = put(nothing, where, None)
    verdict = decide(holding(facts=nothing), QUESTION, NOW)
    assert (verdict.deny_code, verdict.candidates) == ("ACTOR_NOT_FOUND", ())


def order_of(verdict: Verdict) -> list[tuple[str, str, str | None]]:
    """Role key, scope and grant id of each candidate, as listed."""
    return [(one.role.key, one.permission.scope, one.grant.id) for one in verdict.candidates]


def test_candidates_stand_in_the_order_role_key_scope_grant_id() -> None:
    """Each of the three keys would order these differently if it came first."""
    grants = [
        granted("group", role="a", grant_id="grant_9"),
        granted("group_tree", role="a", grant_id="grant_10"),
        granted("group_tree", role="a", grant_id="grant_3"),
        granted("self", role="a", grant_id="grant_1"),
        granted("global", role="b", grant_id="grant_0"),
        granted("space", role="ba", grant_id="grant_0"),
    ]
    expected = [(one.role.key, one.permission.scope, one.grant.id) for one in grants]
    assert expected == sorted(expected)
    shuffler = Random(7)
    for _ in range(50):
        shuffler.shuffle(grants)
        assert order_of(decide(holding(*grants), QUESTION, NOW)) == expected


def inline(anchor: Group | str | None, **kind: Any) -> Any:
    """A granted permission as context mode makes it: without ids."""
    one = granted("group_tree", anchor, grant_id=None, permission_id=None, **kind)
    return put(put(one, "role.id", None), "anchor.id", None)


def test_inline_grants_without_ids_stand_in_one_order_too() -> None:
    grants = (
        inline(None),
        inline("finance"),
        inline("finance", expires_at=NOW),
        inline("finance", expires_at=NOW + TICK),
        inline("finance.apac"),
        inline(group("finance", status="disabled")),
        put(inline("finance"), "anchor.space_id", ABROAD),
        put(inline("finance"), "role.space_id", ABROAD),
    )
    lists = {
        msgspec.json.encode(decide(holding(*order), QUESTION, NOW))
        for order in (*(permutations(grants[:5])), grants, grants[::-1], (*grants[4:], *grants[:4]))
    }
    assert len(lists) == 2  # one of the five, one of all eight


def test_equal_grants_are_each_shown() -> None:
    assert len(decide(holding(granted(), granted()), QUESTION, NOW).candidates) == 2


def test_a_candidate_is_the_granted_permission_whole_and_its_scope_check() -> None:
    one = granted("space", condition={}, not_before=LONG_AGO, expires_at=NOW)
    (candidate,) = decide(holding(one), QUESTION, NOW).candidates
    assert candidate == Candidate(
        anchor=one.anchor,
        grant=one.grant,
        permission=one.permission,
        role=one.role,
        scope_check=candidate.scope_check,
    )


def test_each_reason_is_one_sentence_for_a_person() -> None:
    for world in SAMPLE:
        verdict = decide(*world)
        for reason in (verdict.reason, *(one.scope_check.reason for one in verdict.candidates)):
            assert reason.endswith(".")
            assert len(reason) > 10
            assert "None" not in reason
            assert "\n" not in reason


@pytest.mark.parametrize(
    ("where", "value", "words"),
    [
        ("actor.user", None, ["User", "user_alice", "does not exist"]),
        ("actor.space", None, ["Space", "space_home", "does not exist"]),
        ("actor.member", None, ["Member", "member_reviewer", "does not exist"]),
        ("actor.user_member", None, ["UserMember", "um_alice_reviewer", "does not exist"]),
        ("actor.user.status", "disabled", ["user_alice", "disabled"]),
        ("actor.member.status", "disabled", ["member_reviewer", "disabled"]),
        ("actor.space.status", "disabled", ["space_home", "disabled"]),
        ("actor.user_member.status", "revoked", ["um_alice_reviewer", "revoked"]),
        ("actor.user_member.expires_at", LONG_AGO, ["um_alice_reviewer", "expired", "2020-01-01"]),
        ("registry.resource_type", None, ["invoice"]),
        ("registry.action", None, ["approve", "invoice"]),
        ("target.resource", None, ["invoice_001", "does not exist"]),
        ("target.resource.status", "archived", ["invoice_001", "archived"]),
        ("granted.permission.action", "read", ["member_reviewer", "approve", "invoice"]),
        ("granted.anchor", group("legal"), ["finance.apac", "legal"]),
        ("granted.permission.condition", {"tier": "gold"}, ["tier"]),
        ("granted.role.key", "chief", ["chief", "approve", "invoice"]),
    ],
)
def test_the_reason_names_what_it_is_about(where: str, value: Any, words: list[str]) -> None:
    reason = decide(put(PLAIN, where, value), QUESTION, NOW).reason
    assert [word for word in words if word not in reason] == []


def test_the_snapshot_of_one_decision_derives_it_again_at_the_same_instant_only() -> None:
    facts = holding(granted(expires_at=NOW), granted("self", role="clerk"))
    verdict = decide(facts, QUESTION, NOW)
    kept = msgspec.json.decode(msgspec.json.encode(retold(facts, verdict)), type=Facts)
    assert decide(kept, QUESTION, NOW) == verdict
    assert decide(kept, QUESTION, NOW + TICK).decision == "deny"


def test_a_verdict_is_written_with_sorted_keys() -> None:
    """Canonical at no cost: the fields are declared in alphabetical order (RFC 8785)."""
    for world in SAMPLE[:500]:
        verdict = decide(*world)
        conditionless = holding(*(put(one, "permission.condition", None) for one in world.facts.granted))
        for fact in (verdict.checks, verdict.decisive, conditionless.granted, world.facts.actor, world.question):
            assert msgspec.json.encode(fact) == msgspec.json.encode(fact, order="sorted")
