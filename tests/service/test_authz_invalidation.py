"""A change of any kind of row ends what was known of it: the next decision that names its revision has seen it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from services.authz.engine import decide
from services.authz.rows import GroupRow, MemberRoleRow, PermissionRow, ResourceRow, RolePermissionRow
from shared.clock import utc_now
from tests.service.authz_service import RunningAuthz, eventually, question
from tests.service.authz_writer import AUTHOR, Writer, writing
from tests.service.history import History, facts_of, verdict_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

ACME = "space_acme"
# What changes, in which row, and what the plain question, else allowed, is then answered; None: it stays allowed.
CHANGES: dict[str, tuple[str, str, dict[str, Any], str | None]] = {
    "a user is disabled": ("user", "user_alice", {"status": "disabled"}, "ACTOR_USER_INACTIVE"),
    "a user's address changes": ("user", "user_alice", {"email": "new@acme.example"}, None),
    "a space is disabled": ("space", ACME, {"status": "disabled"}, "SPACE_INACTIVE"),
    "a member is disabled": ("member", "member_finance_reviewer", {"status": "disabled"}, "ACTOR_MEMBER_INACTIVE"),
    "a binding expires": (
        "user_member",
        "um_alice_finance_reviewer",
        {"expires_at": "2020-01-01T00:00:00Z"},
        "USER_MEMBER_EXPIRED",
    ),
    "a type is disabled": ("resource_type", "rt_invoice", {"status": "disabled"}, "INVALID_RESOURCE_TYPE"),
    "an action is disabled": (
        "resource_action",
        "ra_invoice_approve",
        {"status": "disabled"},
        "INVALID_RESOURCE_ACTION",
    ),
    "a resource is archived": ("resource", "invoice_001", {"status": "archived"}, "RESOURCE_INACTIVE"),
    "a resource moves": ("resource", "invoice_001", {"group_id": "group_legal"}, "SCOPE_OUT_OF_BOUNDS"),
    "a resource leaves its group": ("resource", "invoice_001", {"group_id": None}, "TARGET_GROUP_MISSING"),
    "a resource's group is disabled": ("group", "group_finance_apac", {"status": "disabled"}, "TARGET_GROUP_MISSING"),
    "an anchor is disabled": ("group", "group_finance", {"status": "disabled"}, "SCOPE_ANCHOR_MISSING"),
    "a role is disabled": ("role", "role_finance_approver", {"status": "disabled"}, "NO_MATCHING_PERMISSION"),
    "a permission is disabled": (
        "permission",
        "perm_invoice_approve_group_tree",
        {"status": "disabled"},
        "NO_MATCHING_PERMISSION",
    ),
    "a permission gets a condition": (
        "permission",
        "perm_invoice_approve_group_tree",
        {"condition": {"a": 1}},
        "CONDITION_NOT_MET",
    ),
    "a role loses a permission": (
        "role_permission",
        "rp_finance_approver_approve",
        {"status": "disabled"},
        "NO_MATCHING_PERMISSION",
    ),
    "a grant is revoked": (
        "member_role",
        "mr_reviewer_finance_approver",
        {"status": "revoked", "revoked_at": "2026-01-01T00:00:00Z"},
        "NO_MATCHING_PERMISSION",
    ),
    "a grant gets another anchor": (
        "member_role",
        "mr_reviewer_finance_approver",
        {"scope_anchor_group_id": "group_legal"},
        "SCOPE_OUT_OF_BOUNDS",
    ),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def writer(finance: RunningAuthz) -> AsyncIterator[Writer]:
    """A writer beside the service of this module."""
    async with writing(finance.database) as writer:
        yield writer


async def decided_since(finance: RunningAuthz, revision: int, asked: dict[str, Any]) -> Any:
    data = await finance.decide(asked)
    return data["revision"] >= revision and data


@pytest.mark.parametrize("about", CHANGES)
async def test_a_change_of_any_kind_of_row_ends_what_was_known_of_it(finance: RunningAuthz, writer: Writer, about):
    kind, id_, changes, code = CHANGES[about]
    before = writer.stored(kind, id_)
    assert (await finance.decide())["allow"]
    revision = await writer.change((kind, before | changes))
    try:
        data = await eventually(lambda: decided_since(finance, revision, question()))
        assert (data["deny_code"], data["revision"]) == (code, revision)
        trace = finance.trace(data["decision_id"])
        derived = decide(History.of(finance).facts(trace.question, revision), trace.question, trace.decided_at)
        assert derived == verdict_of(trace)
        assert facts_of(trace).actor == History.of(finance).facts(trace.question, revision).actor
    finally:
        revision = await writer.change((kind, before))
    data = await eventually(lambda: decided_since(finance, revision, question()))
    assert data["allow"]


async def test_an_answer_that_does_not_know_of_a_change_does_not_claim_its_revision(
    finance: RunningAuthz, writer: Writer
):
    row = writer.stored("resource", "invoice_001")
    for turn in range(10):
        revision = await writer.change(("resource", row | {"status": ("archived", "active")[turn % 2]}))
        seen = False
        while not seen:
            data = await finance.decide()
            seen = data["revision"] >= revision
            assert data["allow"] == ((turn % 2 == 1) == seen), "the answer and its revision do not belong together"


@pytest.mark.parametrize(
    "kind, id_, begins, code",
    [
        ("user_member", "um_alice_finance_reviewer", False, "USER_MEMBER_EXPIRED"),
        ("member_role", "mr_reviewer_finance_approver", False, "NO_MATCHING_PERMISSION"),
        ("member_role", "mr_reviewer_finance_approver", True, "NO_MATCHING_PERMISSION"),
    ],
)
async def test_a_validity_that_ends_or_begins_shows_at_that_moment_though_nothing_changes(
    finance: RunningAuthz, writer: Writer, kind, id_, begins, code
):
    before, moment = writer.stored(kind, id_), utc_now() + timedelta(seconds=0.7)
    limit = {"not_before" if begins else "expires_at": moment.isoformat()}
    revision = await writer.change((kind, before | limit))
    try:
        answers = [await eventually(lambda: decided_since(finance, revision, question()))]
        while utc_now() < moment + timedelta(seconds=0.1):
            answers.append(await finance.decide())
        assert {data["revision"] for data in answers} == {revision}
        assert len({data["deny_code"] for data in answers}) == 2, "all were asked on one side of the moment"
        for data in answers:
            assert data["deny_code"] == (
                None if (datetime.fromisoformat(data["decided_at"]) >= moment) == begins else code
            )
    finally:
        await writer.change((kind, before))


async def test_what_did_not_exist_is_found_once_it_is_made(finance: RunningAuthz, writer: Writer):
    asked = question(action="reject", resource_id="invoice_new")
    assert (await finance.decide(asked))["deny_code"] == "RESOURCE_NOT_FOUND"
    steps = [
        (ResourceRow(id="invoice_new", resource_type="invoice", space_id=ACME), "NO_MATCHING_PERMISSION"),
        (PermissionRow(id="p_new", resource_type="invoice", action="reject", scope="group"), "NO_MATCHING_PERMISSION"),
        (
            RolePermissionRow(id="rp_new", space_id=ACME, role_id="role_finance_approver", permission_id="p_new"),
            "TARGET_GROUP_MISSING",
        ),
        (GroupRow(id="g_new", space_id=ACME, key="new", name="New", path="new"), "TARGET_GROUP_MISSING"),
        (
            MemberRoleRow(
                id="mr_new",
                space_id=ACME,
                member_id="member_finance_reviewer",
                role_id="role_finance_approver",
                scope_anchor_group_id="g_new",
            ),
            "TARGET_GROUP_MISSING",
        ),
    ]
    for row, code in steps:
        revision = await writer.commands.create(AUTHOR, [row])
        data = await eventually(lambda revision=revision: decided_since(finance, revision, asked))
        assert data["deny_code"] == code, row
    revision = await writer.change(("resource", writer.stored("resource", "invoice_new") | {"group_id": "g_new"}))
    assert (await eventually(lambda: decided_since(finance, revision, asked)))["allow"]
