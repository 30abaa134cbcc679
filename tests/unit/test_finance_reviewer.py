"""The worked example of README.md, as values: no store, no clock, question by question."""

from __future__ import annotations

import pytest

from services.authz.engine import decide
from services.authz.model import Verdict
from tests.unit.oracle import consult
from tests.unit.worlds import LONG_AGO, NOW, TICK, finance_facts, finance_question, holding, put

ALICE = "um_alice_finance_reviewer"
BOB = "um_bob_finance_reviewer"
REVOKED = "um_alice_finance_reviewer_revoked"
EXPIRED = "um_alice_finance_reviewer_expired"

TABLE = [
    (ALICE, "approve", "invoice_001", None, [None]),
    (ALICE, "approve", "invoice_002", "SCOPE_OUT_OF_BOUNDS", ["SCOPE_OUT_OF_BOUNDS"]),
    (BOB, "approve", "invoice_001", None, [None]),
    (REVOKED, "approve", "invoice_001", "USER_MEMBER_REVOKED", [None]),
    (EXPIRED, "approve", "invoice_001", "USER_MEMBER_EXPIRED", [None]),
    (ALICE, "reject", "invoice_001", "NO_MATCHING_PERMISSION", []),
]


def answer(binding_id: str, action: str, invoice_id: str) -> Verdict:
    """What the example answers when asked now."""
    question = finance_question(binding_id, action, invoice_id)
    return decide(finance_facts(question), question, NOW)


@pytest.mark.parametrize(("binding_id", "action", "invoice_id", "deny_code", "candidates"), TABLE)
def test_the_table_of_the_worked_example(
    binding_id: str, action: str, invoice_id: str, deny_code: str | None, candidates: list[str | None]
) -> None:
    verdict = answer(binding_id, action, invoice_id)
    assert (verdict.decision, verdict.deny_code) == ("deny" if deny_code else "allow", deny_code)
    assert [one.scope_check.deny_code for one in verdict.candidates] == candidates
    for one in verdict.candidates:
        assert one.anchor is not None
        assert (one.role.key, one.permission.scope, one.anchor.path) == ("finance_approver", "group_tree", "finance")


@pytest.mark.parametrize(("binding_id", "action", "invoice_id", "deny_code", "candidates"), TABLE)
def test_the_oracle_reads_the_table_the_same_way(
    binding_id: str, action: str, invoice_id: str, deny_code: str | None, candidates: list[str | None]
) -> None:
    question = finance_question(binding_id, action, invoice_id)
    opinion = consult(finance_facts(question), question, NOW)
    assert opinion.deny_code == deny_code
    assert sorted(one.deny_code or "" for one in opinion.shown) == sorted(code or "" for code in candidates)


def test_two_users_act_as_the_same_member() -> None:
    asked = [finance_question(binding_id, "approve", "invoice_001") for binding_id in (ALICE, BOB)]
    assert [question.actor.user_id for question in asked] == ["user_alice", "user_bob"]
    assert {question.actor.member_id for question in asked} == {"member_finance_reviewer"}
    users = [finance_facts(question).actor.user for question in asked]
    assert [user.id for user in users if user] == ["user_alice", "user_bob"]
    alices, bobs = (decide(finance_facts(question), question, NOW) for question in asked)
    assert alices == bobs


@pytest.mark.parametrize("action", ["approve", "read", "create", "update", "delete"])
def test_the_role_allows_its_five_actions_in_finance_only(action: str) -> None:
    assert answer(ALICE, action, "invoice_001").decision == "allow"
    assert answer(ALICE, action, "invoice_002").deny_code == "SCOPE_OUT_OF_BOUNDS"


def test_nobody_approves_with_somebody_elses_binding() -> None:
    alices = finance_question(ALICE, "approve", "invoice_001")
    bobs_binding = finance_facts(finance_question(BOB, "approve", "invoice_001")).actor.user_member
    facts = put(finance_facts(alices), "actor.user_member", bobs_binding)
    assert decide(facts, alices, NOW).deny_code == "CROSS_SPACE_VIOLATION"


def test_the_expired_binding_allowed_until_its_last_instant() -> None:
    question = finance_question(EXPIRED, "approve", "invoice_001")
    facts = finance_facts(question)
    assert decide(facts, question, LONG_AGO).decision == "allow"
    assert decide(facts, question, LONG_AGO + TICK).deny_code == "USER_MEMBER_EXPIRED"


def test_without_the_grant_nothing_is_left_to_approve_with() -> None:
    question = finance_question(ALICE, "approve", "invoice_001")
    assert decide(holding(facts=finance_facts(question)), question, NOW).deny_code == "NO_MATCHING_PERMISSION"
