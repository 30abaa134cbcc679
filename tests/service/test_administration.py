"""Administrators keep every noun over HTTP: what is made, changed and ended is an event, and is what is read."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest

from services.authz.nouns import NOUNS
from shared.ctl.projections import compare_projections
from tests.service.admin import ACME, API, done, last_event, refused, send, written
from tests.service.authz_service import KEYS, RunningAuthz, eventually, question

# Of each noun: where its rows are, a row to be made, a change of it, and how one is ended and taken back.
ROWS: Final[dict[str, tuple[str, dict[str, Any], dict[str, Any], str, str | None]]] = {
    "user": (f"{API}/users", {"email": "Eve@x.example"}, {"display_name": "Eve"}, "disable", "restore"),
    "space": (f"{API}/spaces", {"key": "globex", "name": "Globex"}, {"name": "G"}, "disable", "restore"),
    "group": (
        f"{ACME}/groups",
        {"key": "sox", "name": "SOX", "parent_group_id": "group_finance"},
        {"name": "S"},
        "disable",
        "restore",
    ),
    "member": (f"{ACME}/members", {"display_name": "Bot"}, {"member_type": "robot"}, "disable", "restore"),
    "user_member": (
        f"{ACME}/user-members",
        {"user_id": "user_bob", "member_id": "member_invoice_creator"},
        {"expires_at": "2120-01-01T08:00:00+08:00"},
        "revoke",
        None,
    ),
    "resource_type": (
        f"{API}/resource-types",
        {"key": "order", "display_name": "Order"},
        {"description": "What is bought."},
        "disable",
        "restore",
    ),
    "resource_action": (
        f"{API}/resource-actions",
        {"resource_type": "invoice", "key": "print", "display_name": "Print", "risk_level": "low"},
        {"risk_level": "high"},
        "disable",
        "restore",
    ),
    "role": (f"{ACME}/roles", {"key": "clerk", "name": "Clerk"}, {"description": "Files."}, "disable", "restore"),
    "permission": (
        f"{API}/permissions",
        {"resource_type": "invoice", "action": "read", "scope": "self", "condition": {"state": ["new", "old"]}},
        {"metadata": {"ticket": "A-1"}},
        "disable",
        "restore",
    ),
    "role_permission": (
        f"{ACME}/role-permissions",
        {"role_id": "role_finance_approver", "permission_id": "perm_more"},
        {"metadata": {"ticket": "A-1"}},
        "disable",
        "restore",
    ),
    "member_role": (
        f"{ACME}/member-roles",
        {"member_id": "member_invoice_creator", "role_id": "role_finance_approver"},
        {"not_before": "2020-01-01T00:00:00Z", "expires_at": "2120-01-01T00:00:00Z"},
        "revoke",
        None,
    ),
    "resource": (
        f"{ACME}/resources",
        {"resource_type": "invoice", "group_id": "group_finance_apac", "properties": {"amount": "12.50"}},
        {"owner_member_id": "member_invoice_creator", "group_id": None},
        "archive",
        "restore",
    ),
}


def test_the_table_above_has_every_noun():
    assert list(ROWS) == list(NOUNS)


@pytest.mark.parametrize("noun", ROWS)
async def test_a_row_is_made_read_listed_changed_ended_and_taken_back(authz: RunningAuthz, noun: str):
    path, body, change, end, back = ROWS[noun]
    if noun == "role_permission":
        more = {"id": "perm_more", "resource_type": "invoice", "action": "reject", "scope": "space"}
        await done(authz, "POST", f"{API}/permissions", more)
    response = await send(authz, "POST", path, body | {"reason": "for a test"}, x_request_id="r-1")
    made = response.json()["data"]
    assert (response.status_code, made["status"]) == (201, "active"), response.text
    assert made.items() >= body.items()
    assert made["id"].startswith(f"{NOUNS[noun].prefix}_")
    place = response.headers["location"]
    assert place == f"{path}/invoice/{made['id']}" if noun == "resource" else f"{path}/{made['id']}"
    rows = [made]
    for method, at, sent, kind in (
        ("PATCH", place, change, "updated"),
        ("POST", f"{place}/{end}", {}, NOUNS[noun].ending.status),
        *([("POST", f"{place}/{back}", {}, "restored")] if back else []),
    ):
        before = rows[-1]
        row = await done(authz, method, at, sent | {"reason": f"why {kind}"}, if_match=f'"{before["revision"]}"')
        event = last_event(authz)
        assert (event["kind"], event["reason"]) == (f"{noun}.{kind}", f"why {kind}")
        assert (event["entity_type"], event["entity_id"]) == (noun, made["id"])
        assert event["credential_id"] == KEYS["admin"].credential_id
        assert (event["before"], event["after"]) == (before, row)
        assert row["revision"] == event["revision"] == before["revision"] + 1
        rows.append(row)
    assert rows[1]["status"] == "active"
    assert [row["status"] for row in rows[2:]] == [NOUNS[noun].ending.status, "active"][: 1 + bool(back)]
    read = await send(authz, "GET", place)
    assert read.json()["data"] == rows[-1]
    assert read.headers["etag"] == f'"{rows[-1]["revision"]}"'
    assert rows[-1] in (await send(authz, "GET", path)).json()["data"]
    sent = authz.events("changes")[-1]
    assert sent["data"]["actor"] == {"credential_id": KEYS["admin"].credential_id, "type": "credential"}
    assert sent["data"]["after"] == rows[-1]
    assert compare_projections(authz.database.owner_dsn).differences == []


async def test_times_are_kept_in_utc_and_null_takes_a_value_away(authz: RunningAuthz):
    made = await done(authz, "POST", f"{ACME}/user-members", ROWS["user_member"][1])
    place = f"{ACME}/user-members/{made['id']}"
    changed = await done(authz, "PATCH", place, ROWS["user_member"][2])
    assert changed["expires_at"] == "2120-01-01T00:00:00Z"
    assert (await done(authz, "PATCH", place, {"expires_at": None}))["expires_at"] is None


async def test_a_change_that_changes_nothing_is_no_event(authz: RunningAuthz):
    before = written(authz)
    row = await done(authz, "PATCH", f"{API}/users/user_bob", {"display_name": "Bob"})
    assert (row["revision"], written(authz)) == (3, before)


async def test_a_value_of_another_kind_is_a_change_though_python_calls_it_equal(authz: RunningAuthz):
    place = f"{API}/users/user_bob"
    for value in (1, True, 0, False):
        row = await done(authz, "PATCH", place, {"metadata": {"flag": value}})
        assert (repr(row["metadata"]["flag"]), last_event(authz)["after"]["metadata"]) == (repr(value), {"flag": value})
    await refused(authz, 400, "validation_failed", "PATCH", place, {"metadata": {"flag": 0.0}})


async def test_a_revoked_grant_is_neither_granted_again_nor_named_through_another_space(authz: RunningAuthz):
    await done(authz, "POST", f"{API}/spaces", {"id": "space_other", "key": "other", "name": "Other"})
    await done(authz, "POST", f"{ACME}/member-roles/mr_reviewer_finance_approver/revoke", {"reason": "left"})
    theirs = {
        "member_id": "member_finance_reviewer",
        "role_id": "role_finance_approver",
        "scope_anchor_group_id": "group_finance",
    }
    other = f"{API}/spaces/space_other/member-roles"
    problem = await refused(authz, 409, "duplicate_key", "POST", other, theirs)
    assert "mr_reviewer_finance_approver" not in problem["detail"]


async def test_a_revoked_grant_can_be_granted_again_and_is_the_same_row(authz: RunningAuthz):
    place = f"{ACME}/member-roles/mr_reviewer_finance_approver"
    await refused(authz, 400, "validation_failed", "POST", f"{place}/revoke", {})
    await done(authz, "POST", f"{place}/revoke", {"reason": "left"})
    assert (await authz.decide(question()))["deny_code"] == "NO_MATCHING_PERMISSION"
    again = {
        "member_id": "member_finance_reviewer",
        "role_id": "role_finance_approver",
        "scope_anchor_group_id": "group_finance",
        "expires_at": "2120-01-01T00:00:00Z",
    }
    row = await done(authz, "POST", f"{ACME}/member-roles", again)
    assert (row["id"], row["status"], row["revoked_at"]) == ("mr_reviewer_finance_approver", "active", None)
    assert last_event(authz)["kind"] == "member_role.granted"
    assert (await authz.decide(question(at_least_revision=row["revision"])))["allow"]
    await refused(authz, 409, "duplicate_key", "POST", f"{ACME}/member-roles", again)


async def test_what_is_revoked_is_not_changed_any_more(authz: RunningAuthz):
    place = f"{ACME}/user-members/um_alice_finance_reviewer_revoked"
    await refused(authz, 409, "status_conflict", "PATCH", place, {"is_primary": True})
    await refused(authz, 409, "status_conflict", "POST", f"{place}/revoke", {"reason": "again"})
    await refused(authz, 409, "status_conflict", "POST", f"{API}/users/user_bob/restore", {})


async def test_every_write_names_a_revision_that_reads_and_checks_can_ask_for(authz: RunningAuthz):
    row = await done(authz, "POST", f"{API}/users/user_alice/disable", {"reason": "on leave"})
    data = await authz.decide(question(at_least_revision=row["revision"]))
    assert (data["deny_code"], data["revision"]) == ("ACTOR_USER_INACTIVE", row["revision"])
    for path in (f"{API}/users/user_alice", f"{API}/users"):
        assert (await send(authz, "GET", f"{path}?at_least_revision={row['revision']}")).status_code == 200
    problem = await send(authz, "GET", f"{API}/users?at_least_revision={row['revision'] + 1}")
    assert (problem.status_code, problem.json()["code"]) == (503, "revision_not_reached")
    assert problem.headers["retry-after"]

    # The revision comes while the read waits for it.
    waiting = asyncio.create_task(send(authz, "GET", f"{API}/users/user_alice?at_least_revision={row['revision'] + 1}"))
    await asyncio.sleep(0)
    restored = await done(authz, "POST", f"{API}/users/user_alice/restore", {})
    assert (await waiting).json()["data"] == restored


async def test_true_in_the_place_of_one_is_a_change(authz: RunningAuthz):
    place = f"{ACME}/resources/invoice/invoice_001"
    await done(authz, "PATCH", place, {"properties": {"paid": 1, "lines": [0]}})
    row = await done(authz, "PATCH", place, {"properties": {"paid": True, "lines": [False]}})
    assert row["properties"] == {"paid": True, "lines": [False]}
    assert row["properties"]["paid"] is True
    assert last_event(authz)["after"]["properties"]["lines"] == [False]
    assert (await done(authz, "PATCH", place, {"properties": {"paid": True, "lines": [False]}})) == row
    await refused(authz, 400, "validation_failed", "PATCH", place, {"properties": {"paid": True, "lines": [0.0]}})


async def test_a_row_of_another_space_is_not_found_there(authz: RunningAuthz):
    await done(authz, "POST", f"{API}/spaces", {"id": "space_other", "key": "other", "name": "Other"})
    other = f"{API}/spaces/space_other"
    for path in ("groups/group_finance", "members/member_invoice_creator", "resources/invoice/invoice_001"):
        await refused(authz, 404, "not_found", "GET", f"{other}/{path}")
        await refused(authz, 404, "not_found", "PATCH", f"{other}/{path}", {"metadata": {}})
    for path in ("groups", "resources"):
        assert (await send(authz, "GET", f"{other}/{path}")).json()["data"] == []
        await refused(authz, 404, "not_found", "GET", f"{API}/spaces/nowhere/{path}")


async def test_it_is_all_refused_while_the_database_is_away_and_done_when_it_is_back(authz: RunningAuthz):
    await done(authz, "PATCH", f"{API}/users/user_bob", {"display_name": "Robert"})
    with authz.unreachable():
        for method, path, body in (("GET", f"{API}/users", None), ("PATCH", f"{API}/users/user_bob", {"metadata": {}})):
            response = await send(authz, method, path, body)
            assert (response.status_code, response.json()["code"]) == (503, "database_unavailable")
            assert response.headers["retry-after"]

    async def is_back() -> bool:
        return (await send(authz, "PATCH", f"{API}/users/user_bob", {"display_name": "Rob"})).status_code == 200

    await eventually(is_back)
