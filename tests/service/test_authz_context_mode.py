"""Context mode: a trusted caller sends facts itself, and the same steps and codes apply to them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.service.authz_service import RunningAuthz, actor, question

pytestmark = pytest.mark.asyncio(loop_scope="module")

ACME = "space_acme"
NEVER = {"user_id": "u", "member_id": "m", "user_member_id": "um", "space_id": "s"}
PAST, FUTURE = "2020-01-01T00:00:00Z", "2120-01-01T00:00:00Z"


def target(**changes: Any) -> dict[str, Any]:
    """An invoice in finance.apac that is stored nowhere; a change to None leaves the field out."""
    sent = {"type": "invoice", "id": "draft_1", "space_id": ACME, "group_path": "finance.apac"} | changes
    return {name: value for name, value in sent.items() if value is not None}


def grant(**changes: Any) -> dict[str, Any]:
    """A grant that covers the subtree of finance; a change to None leaves the field out."""
    sent = {
        "role_key": "sent_role",
        "resource_type": "invoice",
        "action": "approve",
        "scope": "group_tree",
        "space_id": ACME,
        "scope_anchor_group_path": "finance",
    } | changes
    return {name: value for name, value in sent.items() if value is not None}


def inline(resource: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """A question about a target that is sent."""
    return question(resource_type=None, resource_id=None, resource=resource or target()) | changes


async def answer(finance: RunningAuthz, body: dict[str, Any]) -> str:
    """Ask check and explain; the one answer of both."""
    checked, explained = await finance.check(body, key="trusted"), await finance.explain(body, key="trusted")
    assert checked.status_code == explained.status_code == 200, checked.text
    answers = [response.json()["data"]["deny_code"] or "allow" for response in (checked, explained)]
    assert answers[0] == answers[1]
    return str(answers[0])


@pytest.mark.parametrize(
    "body, parts",
    [
        (question(), []),
        (question(actor=actor(user_email="a@b")), ["actor"]),
        (question(actor=actor(binding_expires_at=None, binding_status="active")), ["actor"]),
        (inline(), ["resource"]),
        (question(grants=[grant()]), ["grants"]),
        (question(actor=actor(user_email="a@b"), grants=[grant()]), ["actor", "grants"]),
        (inline(actor=actor(user_email="a@b")), ["actor", "resource"]),
        (inline(grants=[grant()]), ["grants", "resource"]),
        (inline(actor=actor(user_email="a@b"), grants=[grant()]), ["actor", "grants", "resource"]),
    ],
)
async def test_each_part_can_be_sent_alone_or_with_others_and_the_trace_names_them(finance: RunningAuthz, body, parts):
    data = await finance.decide(body)
    assert data["allow"]
    trace = finance.trace(data["decision_id"])
    assert list(trace.inline) == parts
    assert trace.request.inline is bool(parts)


@pytest.mark.parametrize("body", [question(actor=actor(user_status="active")), inline(), question(grants=[])])
@pytest.mark.parametrize("path", ["check", "explain"])
async def test_it_needs_its_own_permission(finance: RunningAuthz, body, path):
    before = finance.count_recorded()
    response = await finance.post(f"/api/v1/authz/{path}", body, key="caller")
    assert response.status_code == 403
    assert "authz:check_inline" in response.json()["detail"]
    assert finance.count_recorded() == before


@pytest.mark.parametrize(
    "sent, code",
    [
        ({}, "allow"),
        ({"user_status": "disabled"}, "ACTOR_USER_INACTIVE"),
        ({"user_status": "anything else"}, "ACTOR_USER_INACTIVE"),
        ({"member_status": "disabled"}, "ACTOR_MEMBER_INACTIVE"),
        ({"space_status": "disabled"}, "SPACE_INACTIVE"),
        ({"binding_status": "revoked"}, "USER_MEMBER_REVOKED"),
        ({"binding_expires_at": PAST}, "USER_MEMBER_EXPIRED"),
        ({"binding_expires_at": FUTURE}, "allow"),
        ({"binding_expires_at": "2020-01-01T00:00:00-23:59"}, "USER_MEMBER_EXPIRED"),
        # A user that is not active comes before a binding that is revoked.
        ({"user_status": "disabled", "binding_status": "revoked"}, "ACTOR_USER_INACTIVE"),
    ],
)
async def test_a_sent_actor_is_active_unless_it_says_otherwise(finance: RunningAuthz, sent, code):
    assert await answer(finance, question(actor=actor(user_email="a@b", **sent))) == code


async def test_a_sent_actor_need_not_be_stored_but_holds_the_stored_grants_of_its_member(finance: RunningAuthz):
    unknown_user = actor(user_id="u_new", user_member_id="um_new", user_email="new@b")
    assert await answer(finance, question(actor=unknown_user)) == "allow"
    unknown_member = actor(member_id="m_new", user_email="new@b")
    assert await answer(finance, question(actor=unknown_member)) == "NO_MATCHING_PERMISSION"


async def test_what_is_sent_of_an_actor_replaces_what_is_stored(finance: RunningAuthz):
    revoked = "um_alice_finance_reviewer_revoked"
    assert await answer(finance, question(actor=actor(revoked))) == "USER_MEMBER_REVOKED"
    assert await answer(finance, question(actor=actor(revoked, user_email="a@b"))) == "allow"


@pytest.mark.parametrize(
    "resource, code",
    [
        (target(), "allow"),
        (target(group_path="finance"), "allow"),
        (target(group_path="finance.apac.tokyo.shibuya"), "allow"),
        (target(group_path="financeops"), "SCOPE_OUT_OF_BOUNDS"),
        (target(group_path="legal.finance"), "SCOPE_OUT_OF_BOUNDS"),
        (target(group_path=None), "TARGET_GROUP_MISSING"),
        (target(status="archived"), "RESOURCE_INACTIVE"),
        (target(space_id="space_other"), "CROSS_SPACE_VIOLATION"),
        (target(type="unregistered"), "INVALID_RESOURCE_TYPE"),
        (target(id=None, external_id="any text: ü / # 日本"), "allow"),
        (target(external_id="PO-1"), "allow"),
        (target(properties={"amount": 12, "tags": ["a", {"b": None}]}), "allow"),
        # One that is stored elsewhere: what is sent replaces it.
        (target(id="invoice_002"), "allow"),
    ],
)
async def test_a_sent_target_replaces_the_stored_one(finance: RunningAuthz, resource, code):
    assert await answer(finance, inline(resource)) == code


@pytest.mark.parametrize(
    "grants, code",
    [
        ([grant()], "allow"),
        ([], "NO_MATCHING_PERMISSION"),
        ([grant(action="read")], "NO_MATCHING_PERMISSION"),
        ([grant(resource_type="receipt")], "NO_MATCHING_PERMISSION"),
        ([grant(action="read"), grant(resource_type="receipt"), grant()], "allow"),
        ([grant(expires_at=PAST)], "NO_MATCHING_PERMISSION"),
        ([grant(expires_at=FUTURE)], "allow"),
        ([grant(scope="group")], "SCOPE_OUT_OF_BOUNDS"),
        ([grant(scope="group", scope_anchor_group_path="finance.apac")], "allow"),
        ([grant(scope="space", scope_anchor_group_path=None)], "allow"),
        ([grant(scope="self")], "SCOPE_OUT_OF_BOUNDS"),
        ([grant(scope="global")], "GLOBAL_SCOPE_DISABLED"),
        ([grant(scope="galaxy")], "SCOPE_OUT_OF_BOUNDS"),
        ([grant(scope_anchor_group_path=None)], "SCOPE_ANCHOR_MISSING"),
        ([grant(scope_anchor_group_path="legal")], "SCOPE_OUT_OF_BOUNDS"),
        ([grant(scope="global"), grant(scope_anchor_group_path=None)], "SCOPE_ANCHOR_MISSING"),
        ([grant(scope="global"), grant(scope_anchor_group_path="legal")], "SCOPE_OUT_OF_BOUNDS"),
        ([grant(), grant(space_id="space_other")], "CROSS_SPACE_VIOLATION"),
        # A grant for another action is dropped before its Space is looked at.
        ([grant(), grant(action="read", space_id="space_other")], "allow"),
    ],
)
async def test_sent_grants_replace_the_stored_ones(finance: RunningAuthz, grants, code):
    assert await answer(finance, question(grants=grants)) == code


async def test_self_covers_what_the_sent_target_says_is_the_actors_own(finance: RunningAuthz):
    own = target(owner_member_id="member_finance_reviewer", group_path=None)
    assert await answer(finance, inline(own, grants=[grant(scope="self")])) == "allow"
    assert (
        await answer(finance, inline(own | {"owner_member_id": "m"}, grants=[grant(scope="self")]))
        == "SCOPE_OUT_OF_BOUNDS"
    )


async def test_everything_can_be_sent_and_then_only_the_registry_is_plystras(finance: RunningAuthz):
    sent = {"actor": NEVER | {"user_email": "a@b"}, "action": "approve"}
    resource, held = target(space_id="s", id="x"), grant(space_id="s")
    assert await answer(finance, sent | {"resource": resource, "grants": [held]}) == "allow"
    unregistered = sent | {"action": "fly", "resource": resource, "grants": [held | {"action": "fly"}]}
    assert await answer(finance, unregistered) == "INVALID_RESOURCE_ACTION"


async def test_two_equal_paths_are_one_group_and_no_group_has_an_id(finance: RunningAuthz):
    data = await finance.decide(inline(grants=[grant(scope="group", scope_anchor_group_path="finance.apac")]))
    assert data["allow"]
    trace = finance.trace(data["decision_id"])
    assert trace.target.group is not None
    assert trace.target.group == trace.candidates[0].anchor
    assert trace.target.group.id is None


async def test_grants_for_another_type_or_action_are_not_in_the_trace(finance: RunningAuthz):
    data = await finance.decide(question(grants=[grant(action="read"), grant(), grant(resource_type="receipt")]))
    assert [c.permission.action for c in finance.trace(data["decision_id"]).candidates] == ["approve"]


async def test_the_order_of_sent_grants_never_matters(finance: RunningAuthz):
    grants = [
        grant(role_key="b"),
        grant(role_key="a", scope_anchor_group_path="legal"),
        grant(role_key="a", scope="space"),
        grant(role_key="a", expires_at=FUTURE),
    ]
    one = await finance.decide(question(grants=grants))
    other = await finance.decide(question(grants=grants[::-1]))
    traces = [finance.trace(data["decision_id"]) for data in (one, other)]
    assert traces[0].candidates == traces[1].candidates
    assert one["reason"] == other["reason"]


async def test_a_question_may_repeat_the_type_and_id_of_the_sent_target(finance: RunningAuthz):
    assert await answer(finance, question(resource_id="draft_1", resource=target())) == "allow"
    with_external = question(resource_id="any", resource=target(id=None, external_id="any"))
    assert await answer(finance, with_external) == "allow"


async def test_the_id_of_a_sent_target_is_what_the_question_names(finance: RunningAuthz):
    for resource, id_ in (
        (target(), "draft_1"),
        (target(external_id="e"), "draft_1"),
        (target(id=None, external_id="e"), "e"),
    ):
        data = await finance.decide(inline(resource))
        assert finance.trace(data["decision_id"]).question.resource_id == id_


async def test_properties_are_recorded_as_they_were_sent(finance: RunningAuthz):
    properties = {"b": [1, {"z": 1, "a": "ü"}], "a": None, "c": True, "max": 2**53 - 1}
    data = await finance.decide(inline(target(properties=properties)))
    resource = finance.trace(data["decision_id"]).target.resource
    assert resource is not None
    assert resource.properties == properties


async def test_a_moment_is_recorded_in_utc_whatever_its_offset(finance: RunningAuthz):
    data = await finance.decide(question(actor=actor(binding_expires_at="2120-01-01T02:00:00+02:00")))
    event = finance.event(data["decision_id"])
    assert event["data"]["actor"]["user_member"]["expires_at"] == "2120-01-01T00:00:00Z"
    data = await finance.decide(question(grants=[grant(expires_at="2119-12-31T14:30:00.5-09:30")]))
    (candidate,) = finance.event(data["decision_id"])["data"]["candidates"]
    assert candidate["grant"]["expires_at"] == "2120-01-01T00:00:00.500000Z"
