"""The worked example of README.md over HTTP, through the real database, by check and by explain."""

from __future__ import annotations

from typing import Any

import pytest

from tests.service.authz_service import CLIENT_IP, KEYS, RunningAuthz, actor, bearer, question

pytestmark = pytest.mark.asyncio(loop_scope="module")

ALICE, BOB = "um_alice_finance_reviewer", "um_bob_finance_reviewer"
# Binding, action, invoice; deny code (None: allow), and how many candidates are listed.
TABLE: list[tuple[str, str, str, str | None, int]] = [
    (ALICE, "approve", "invoice_001", None, 1),
    (ALICE, "approve", "invoice_002", "SCOPE_OUT_OF_BOUNDS", 1),
    (BOB, "approve", "invoice_001", None, 1),
    (f"{ALICE}_revoked", "approve", "invoice_001", "USER_MEMBER_REVOKED", 1),
    (f"{ALICE}_expired", "approve", "invoice_001", "USER_MEMBER_EXPIRED", 1),
    (ALICE, "reject", "invoice_001", "NO_MATCHING_PERMISSION", 0),
]
CHECK_FIELDS = {"allow", "decision", "deny_code", "reason", "decision_id", "revision", "decided_at"}


def asked(binding: str, action: str, invoice: str) -> dict[str, Any]:
    return question(actor=actor(binding), action=action, resource_id=invoice)


@pytest.mark.parametrize("binding, action, invoice, deny_code, candidates", TABLE)
async def test_check_answers_as_the_table_says_and_records_what_it_answered(
    finance: RunningAuthz, binding, action, invoice, deny_code, candidates
):
    response = await finance.check(asked(binding, action, invoice))
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    answer = response.json()
    assert set(answer) == {"data", "request_id"}
    data = answer["data"]
    assert set(data) == CHECK_FIELDS
    assert (data["allow"], data["decision"]) == ((True, "allow") if deny_code is None else (False, "deny"))
    assert data["deny_code"] == deny_code
    trace = finance.trace(data["decision_id"])
    assert (trace.decision, trace.deny_code, trace.reason) == (data["decision"], deny_code, data["reason"])
    assert trace.revision == data["revision"]
    assert len(trace.candidates) == candidates


@pytest.mark.parametrize("binding, action, invoice, deny_code, candidates", TABLE)
async def test_explain_answers_the_same_with_the_very_trace_that_is_recorded(
    finance: RunningAuthz, binding, action, invoice, deny_code, candidates
):
    response = await finance.explain(asked(binding, action, invoice))
    assert response.status_code == 200
    data = response.json()["data"]
    assert set(data) == CHECK_FIELDS | {"trace"}
    assert data["deny_code"] == deny_code
    assert data["trace"] == finance.event(data["decision_id"])["data"]
    assert len(data["trace"]["candidates"]) == candidates
    checked = (await finance.check(asked(binding, action, invoice))).json()["data"]
    for field in CHECK_FIELDS - {"decision_id", "decided_at"}:
        assert checked[field] == data[field]


async def test_the_trace_tells_who_asked_about_what_and_why_it_was_allowed(finance: RunningAuthz):
    response = await finance.explain(asked(BOB, "approve", "invoice_001"), user_agent="an agent")
    trace = response.json()["data"]["trace"]
    assert trace["actor"]["user"] == {"email": "bob@acme.example", "id": "user_bob", "status": "active"}
    assert trace["actor"]["member"]["id"] == "member_finance_reviewer"
    assert trace["actor"]["space"] == {"id": "space_acme", "name": "Acme", "status": "active"}
    assert trace["actor"]["user_member"]["id"] == BOB
    assert trace["target"]["resource"]["owner_member_id"] == "member_invoice_creator"
    assert trace["target"]["group"]["path"] == "finance.apac"
    assert trace["registry"] == {
        "action": {"key": "approve", "risk_level": "high", "status": "active"},
        "resource_type": {"key": "invoice", "status": "active"},
    }
    (candidate,) = trace["candidates"]
    assert candidate["role"]["key"] == "finance_approver"
    assert candidate["anchor"]["path"] == "finance"
    assert candidate["scope_check"]["covered"] is True
    assert trace["decisive"] == {"candidate": 0, "step": "scope_covered"}
    assert {check["result"] for check in trace["checks"]} == {"passed"}
    assert trace["request"] == {
        "credential_id": KEYS["caller"].credential_id,
        "inline": False,
        "ip": CLIENT_IP,
        "request_id": response.headers["x-request-id"],
        "span_id": None,
        "trace_id": None,
        "user_agent": "an agent",
    }
    assert trace["inline"] == []


async def test_the_envelope_of_a_decision_is_that_of_the_contract(finance: RunningAuthz):
    data = await finance.decide(asked(ALICE, "approve", "invoice_001"))
    event = finance.event(data["decision_id"])
    assert list(event) == ["data", "epoch", "event_id", "kind", "occurred_at", "sequence", "source", "version"]
    assert event["kind"] == "decision.made"
    assert event["source"] == "authz@test"
    assert event["version"] == 1
    assert event["occurred_at"] == event["data"]["decided_at"] == data["decided_at"]
    assert event["event_id"] == event["data"]["decision_id"]


async def test_every_decision_has_an_id_of_its_own_and_the_sequence_goes_up_by_one(finance: RunningAuthz):
    decided = [await finance.decide(asked(ALICE, "approve", "invoice_001")) for _ in range(5)]
    events = [finance.event(data["decision_id"]) for data in decided]
    first = events[0]["sequence"]
    assert [event["sequence"] for event in events] == list(range(first, first + 5))


async def test_decisions_are_counted_by_outcome_and_deny_code(finance: RunningAuthz):
    async def counted(labels: str) -> float:
        response = await finance.client.get("/metrics", headers=bearer("watcher"))
        found = [
            line for line in response.text.splitlines() if line.startswith(f"plystra_authz_decisions_total{{{labels}}}")
        ]
        return float(found[0].split()[-1]) if found else 0.0

    allowed, denied = 'decision="allow",deny_code=""', 'decision="deny",deny_code="SCOPE_OUT_OF_BOUNDS"'
    before = await counted(allowed), await counted(denied)
    await finance.decide(asked(ALICE, "approve", "invoice_001"))
    await finance.decide(asked(ALICE, "approve", "invoice_002"))
    await finance.decide(asked(ALICE, "approve", "invoice_002"))
    assert (await counted(allowed), await counted(denied)) == (before[0] + 1, before[1] + 2)
