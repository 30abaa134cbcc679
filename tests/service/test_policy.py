"""A Space declared in one document: what isn't as declared is changed, all or nothing, and a dry run foretells it."""

from __future__ import annotations

import copy
from random import Random
from typing import Any, Final

import pytest

from shared.ctl.projections import compare_projections
from tests.service.admin import ACME, API, done, refused, send, written
from tests.service.authz_service import RunningAuthz

POLICY: Final = f"{ACME}/policy"
DRY: Final = f"{POLICY}?dry_run=true"
REVIEWER: Final = "member_finance_reviewer"


async def exported(authz: RunningAuthz) -> dict[str, Any]:
    return await done(authz, "GET", POLICY)


def changed(policy: dict[str, Any]) -> dict[str, Any]:
    """A policy with something of everything: made, changed, moved, dropped."""
    policy = copy.deepcopy(policy)
    policy["groups"] = [group for group in policy["groups"] if group["path"] not in {"legal", "legal.emea"}]
    for group in policy["groups"]:
        group["path"] = f"ops.{group['path']}"
    policy["groups"] += [{"path": "ops", "name": "Operations"}, {"path": "ops.finance.sox"}]
    policy["roles"][0]["permissions"] = policy["roles"][0]["permissions"][1:]
    policy["roles"].append(
        {
            "key": "clerk",
            "name": "Clerk",
            "permissions": [{"resource_type": "invoice", "action": "reject", "scope": "self"}],
        }
    )
    policy["members"] = [m for m in policy["members"] if m["id"] == REVIEWER] + [{"id": "m_new", "display_name": "New"}]
    policy["members"][0]["display_name"] = "Reviewer of Finance"
    policy["grants"] = [
        {"member": REVIEWER, "role": "finance_approver", "anchor": "ops.finance.emea"},
        {"member": "m_new", "role": "clerk", "expires_at": "2120-01-01T00:00:00Z"},
    ]
    return policy


async def test_what_is_exported_declares_the_space_as_it_is(authz: RunningAuthz):
    policy = await exported(authz)
    before = written(authz)
    report = await done(authz, "PUT", POLICY, policy)
    # Of what a policy is about: the last two events are a resource's and the end of a binding.
    assert (report["changes"], report["revision"], report["dry_run"]) == ([], 33, False)
    assert written(authz) == before


async def test_a_space_becomes_what_is_declared_in_one_transaction_of_ordinary_events(authz: RunningAuthz):
    policy = changed(await exported(authz))
    before = written(authz)
    planned = await done(authz, "PUT", DRY, policy)
    assert written(authz) == before
    report = await done(authz, "PUT", f"{POLICY}?reason=quarterly%20review", policy)
    labels = [(change["kind"], change["label"]) for change in report["changes"]]
    assert [(change["kind"], change["label"]) for change in planned["changes"]] == labels
    assert labels == [
        ("group.created", "ops"),
        ("group.moved", "ops.finance"),
        ("group.created", "ops.finance.sox"),
        ("role.created", "clerk"),
        ("permission.created", "invoice reject (self)"),
        ("role_permission.added", "clerk: invoice reject (self)"),
        ("role_permission.disabled", "finance_approver: invoice approve (group_tree)"),
        ("member.updated", REVIEWER),
        ("member.created", "m_new"),
        ("member.disabled", "member_invoice_creator"),
        ("member_role.granted", f"finance_approver to {REVIEWER} at ops.finance.emea"),
        ("member_role.granted", "clerk to m_new"),
        ("member_role.revoked", f"finance_approver to {REVIEWER} at ops.finance"),
        ("group.disabled", "legal"),
        ("group.disabled", "legal.emea"),
    ]
    assert report["revision"] == 36 + len(labels)
    events = authz.sql("select kind, reason, request_id from authz.event where revision > 36 order by revision")
    assert [kind for kind, _, _ in events] == [kind for kind, _ in labels]
    assert {reason for _, reason, _ in events} == {"quarterly review"}
    assert len({request_id for _, _, request_id in events}) == 1
    assert (await done(authz, "PUT", POLICY, policy))["changes"] == []
    kept = await exported(authz)
    assert {group["path"] for group in kept["groups"]} == {group["path"] for group in policy["groups"]}
    assert [len(role["permissions"]) for role in kept["roles"]] == [1, 4]
    assert compare_projections(authz.database.owner_dsn).differences == []


async def test_what_was_dropped_and_is_declared_again_is_restored(authz: RunningAuthz):
    whole = await exported(authz)
    nothing: dict[str, Any] = {
        "version": 1,
        "space_id": "space_acme",
        "groups": [],
        "roles": [],
        "members": [],
        "grants": [],
    }
    await done(authz, "PUT", POLICY, nothing)
    assert await exported(authz) == nothing
    report = await done(authz, "PUT", POLICY, whole)
    kinds = [change["kind"] for change in report["changes"]]
    assert set(kinds) == {f"{noun}.restored" for noun in ("group", "role", "role_permission", "member")} | {
        "member_role.granted"
    }
    assert await exported(authz) == whole
    assert compare_projections(authz.database.owner_dsn).differences == []


async def test_a_dry_run_tells_who_gains_and_who_loses_what(authz: RunningAuthz):
    policy = await exported(authz)
    policy["grants"][0]["anchor"] = "legal"
    access = (await done(authz, "PUT", DRY, policy))["access"]
    assert (access["gained"], access["lost"], access["complete"]) == (5, 5, True)
    approve = [change for change in access["changes"] if change["action"] == "approve"]
    assert [(c["before"], c["after"], c["count"], c["resource_ids"]) for c in approve] == [
        ("allow", "SCOPE_OUT_OF_BOUNDS", 1, ["invoice_001"]),
        ("SCOPE_OUT_OF_BOUNDS", "allow", 1, ["invoice_002"]),
    ]
    assert {change["member_id"] for change in access["changes"]} == {REVIEWER}


Answers = dict[tuple[str, str, str], bool]


async def answers(authz: RunningAuthz, members: list[str], resources: list[str]) -> Answers:
    """Ask authz itself: each member, bound to a user of its own, for each action on each resource."""
    found = {}
    revision = authz.sql("select max(revision) from authz.event")[0][0]
    for member in members:
        ids = {"user_id": "user_bob", "member_id": member, "user_member_id": f"um_{member}", "space_id": "space_acme"}
        for action in ("read", "approve", "reject"):
            for resource in resources:
                asked = {"actor": ids, "action": action, "resource_type": "invoice", "resource_id": resource}
                found[member, action, resource] = (await authz.decide(asked | {"at_least_revision": revision}))["allow"]
    return found


def random_policy(chance: Random, members: list[str]) -> dict[str, Any]:
    """A policy over a handful of groups, roles and members."""
    paths = ["a", "a.b", "a.b.c", "d"]
    groups = [path for path in paths if chance.random() < 0.8]
    groups = [path for path in groups if all(path[:n] in groups for n in range(1, len(path), 2))]
    meanings = [
        (action, scope, condition)
        for action in ("read", "approve", "reject")
        for scope in ("self", "group", "group_tree", "space")
        for condition in (None, {"state": "open"})
    ]
    roles = [
        {
            "key": key,
            "name": key,
            "permissions": [
                {"resource_type": "invoice", "action": action, "scope": scope, "condition": condition}
                for action, scope, condition in chance.sample(meanings, 4)
            ],
        }
        for key in ("r1", "r2", "r3")
        if chance.random() < 0.8
    ]
    kept = [member for member in members if chance.random() < 0.9]
    grants = [
        {"member": member, "role": role["key"], "anchor": chance.choice([None, *groups])}
        for member in kept
        for role in roles
        if chance.random() < 0.5
    ]
    return {
        "version": 1,
        "groups": [{"path": path} for path in groups],
        "roles": roles,
        "members": [{"id": member, "display_name": member} for member in kept],
        "grants": grants,
    }


@pytest.mark.parametrize("seed", range(3))
async def test_what_a_dry_run_foretells_is_what_authz_answers_before_and_after(authz: RunningAuthz, seed: int):
    chance, members = Random(seed), ["m_1", "m_2", "m_3"]
    resources = [f"inv_{n}" for n in range(8)]
    first = random_policy(chance, members)
    first["groups"] = [{"path": path} for path in ("a", "a.b", "a.b.c", "d")]
    first["members"] = [{"id": member, "display_name": member} for member in members]
    await done(authz, "PUT", POLICY, first)
    for member in members:
        binding = {"id": f"um_{member}", "user_id": "user_bob", "member_id": member}
        await done(authz, "POST", f"{ACME}/user-members", binding)
    groups = {row["path"]: row["id"] for row in (await send(authz, "GET", f"{ACME}/groups")).json()["data"]}
    for resource in resources:
        body = {
            "id": resource,
            "resource_type": "invoice",
            "group_id": chance.choice([None, *(groups[path] for path in ("a", "a.b", "a.b.c", "d"))]),
            "owner_member_id": chance.choice([None, *members]),
            "properties": {"state": chance.choice(["open", "closed"])},
        }
        await done(authz, "POST", f"{ACME}/resources", body)
    before = await answers(authz, members, resources)
    seen = set()
    for _ in range(4):
        policy = random_policy(chance, members)
        access = (await done(authz, "PUT", DRY, policy))["access"]
        await done(authz, "PUT", POLICY, policy)
        after = await answers(authz, members, resources)
        foretold = {
            (change["member_id"], change["action"], resource): change["after"] == "allow"
            for change in access["changes"]
            for resource in change["resource_ids"]
            if resource in resources
        }
        truth = {key: allow for key, allow in after.items() if allow != before[key]}
        assert foretold == truth
        seen |= set(truth.values())
        before = after
    assert seen == {True, False}


@pytest.mark.parametrize(
    "change, pointers",
    [
        ({"groups": [{"path": "a"}, {"path": "a"}]}, ["/groups/1", "/grants/0/anchor"]),
        ({"groups": [{"path": "finance"}, {"path": "x.y"}]}, ["/groups/1/path"]),
        ({"members": []}, ["/grants/0/member"]),
        ({"roles": []}, ["/grants/0/role"]),
        ({"roles": [{"key": "finance_approver", "name": "F"}] * 2}, ["/roles/1"]),
        ({"version": 2}, ["/version"]),
        ({"space_id": "space_other"}, ["/space_id"]),
        ({"groups": [{"path": "Finance"}]}, ["/groups/0/path"]),
        ({"color": "red"}, ["/color"]),
    ],
)
async def test_a_contradiction_is_named_by_its_place(authz: RunningAuthz, change: dict[str, Any], pointers: list[str]):
    policy = await exported(authz) | change
    for path in (POLICY, DRY):
        problem = await refused(authz, 400, "validation_failed", "PUT", path, policy)
        assert [error["pointer"] for error in problem["errors"]] == pointers


async def test_it_is_all_or_nothing(authz: RunningAuthz):
    policy = changed(await exported(authz))
    policy["roles"][1]["permissions"][0]["action"] = "shred"
    problem = await refused(authz, 422, "resource_action_unknown", "PUT", POLICY, policy)
    assert "shred" in problem["detail"]
    policy = await exported(authz)
    policy["groups"][0]["path"], policy["groups"][3]["path"] = "legal", "finance"  # they take each other's place
    policy["groups"] = [policy["groups"][0], policy["groups"][3]]
    assert (await send(authz, "PUT", POLICY, policy)).status_code == 409
    policy["groups"] = [{"path": "finance", "id": "group_elsewhere"}]
    problem = await refused(authz, 409, "duplicate_key", "PUT", POLICY, policy)
    assert problem["errors"][0]["pointer"] == "/groups/0/id"


async def test_a_policy_planned_on_what_was_changed_since_is_refused(authz: RunningAuthz):
    etag = (await send(authz, "GET", POLICY)).headers["etag"]
    policy = changed(await exported(authz))
    # Resources come and go all the time, and are no part of it.
    await done(authz, "POST", f"{ACME}/resources", {"resource_type": "invoice", "id": "busy"})
    planned = await send(authz, "PUT", DRY, policy, if_match=etag)
    assert (planned.status_code, planned.headers["etag"]) == (200, etag)
    await done(authz, "PATCH", f"{ACME}/groups/group_legal", {"name": "Law"})
    for path in (POLICY, DRY):
        await refused(authz, 412, "etag_mismatch", "PUT", path, policy, if_match=etag)
    etag = (await send(authz, "GET", POLICY)).headers["etag"]
    first = await done(authz, "PUT", POLICY, policy, if_match=etag, idempotency_key="p-1")
    assert await done(authz, "PUT", POLICY, policy, if_match=etag, idempotency_key="p-1") == first
    del policy["space_id"]
    await refused(authz, 404, "not_found", "PUT", f"{API}/spaces/nowhere/policy", policy)
    await refused(authz, 404, "not_found", "GET", f"{API}/spaces/nowhere/policy")


@pytest.mark.parametrize(
    "path",
    [
        f"{ACME}/groups/group_finance",
        f"{ACME}/groups/group_finance_apac",
        f"{ACME}/members/{REVIEWER}",
        f"{ACME}/roles/role_finance_approver",
        "permission",
    ],
)
async def test_what_is_exported_of_a_space_with_something_disabled_changes_nothing(authz: RunningAuthz, path: str):
    if path == "permission":
        path = f"{API}/permissions/{(await send(authz, 'GET', f'{API}/permissions')).json()['data'][0]['id']}"
    await done(authz, "POST", f"{path}/disable", {})
    policy = await exported(authz)
    assert (await done(authz, "PUT", POLICY, policy))["changes"] == []
    await done(authz, "POST", f"{path}/restore", {})
    assert (await done(authz, "PUT", POLICY, await exported(authz)))["changes"] == []


async def test_a_group_declared_disabled_is_disabled_with_what_lies_below_it_left_as_it_is(authz: RunningAuthz):
    policy = await exported(authz)
    policy["groups"][0]["status"] = "disabled"
    policy["groups"].append({"path": "old", "status": "disabled"})
    report = await done(authz, "PUT", POLICY, policy)
    assert {(change["kind"], change["label"]) for change in report["changes"]} == {
        ("group.disabled", "finance"),
        ("group.created", "old"),
        ("group.disabled", "old"),
    }
    assert (await done(authz, "PUT", POLICY, policy))["changes"] == []


async def test_a_permission_that_is_disabled_for_all_spaces_is_not_restored_by_the_policy_of_one(authz: RunningAuthz):
    policy = await exported(authz)
    for permission in (await send(authz, "GET", f"{API}/permissions")).json()["data"]:
        await done(authz, "POST", f"{API}/permissions/{permission['id']}/disable", {})
    for path in (POLICY, DRY):
        problem = await refused(authz, 409, "status_conflict", "PUT", path, policy)
        assert problem["errors"][0]["pointer"] == "/roles/0/permissions/0"


async def test_a_group_leaves_its_place_before_another_takes_it(authz: RunningAuthz):
    policy = await exported(authz)
    for group in policy["groups"]:
        group["path"] = f"legal.{group['path']}" if group["path"].startswith("finance") else group["path"]
    policy["grants"][0]["anchor"] = "legal.finance"
    policy["groups"].append({"path": "finance", "name": "The new one"})
    report = await done(authz, "PUT", POLICY, policy)
    assert [(change["kind"], change["label"]) for change in report["changes"]] == [
        ("group.moved", "legal.finance"),
        ("group.created", "finance"),
    ]
    chain: dict[str, Any] = {"version": 1, "roles": [], "members": [], "grants": []}
    chain["groups"] = [{"path": "a", "id": "g_1"}, {"path": "b", "id": "g_2"}]
    await done(authz, "PUT", POLICY, chain)
    chain["groups"] = [{"path": "b", "id": "g_1"}, {"path": "c", "id": "g_2"}]
    report = await done(authz, "PUT", POLICY, chain)
    assert [change["label"] for change in report["changes"]] == ["c", "b"]
    chain["groups"] = [{"path": "c", "id": "g_1"}, {"path": "b", "id": "g_2"}]
    problem = await refused(authz, 409, "conflict", "PUT", POLICY, chain)
    assert problem["errors"][0]["pointer"] == "/groups/0/path"
    assert compare_projections(authz.database.owner_dsn).differences == []
