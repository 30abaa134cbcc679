"""`plystractl authz replay`: whatever was changed between two decisions, each is derived again from trace and history."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import pytest

from services.authz.rows import (
    GroupRow,
    MemberRoleRow,
    MemberRow,
    PermissionRow,
    ResourceRow,
    ResourceTypeRow,
    RolePermissionRow,
    RoleRow,
)
from shared.canonical import canonical_json
from shared.ctl.__main__ import main
from shared.recorded import hash_leaf
from tests.service.audit_service import document
from tests.service.authz_service import actor, question
from tests.service.authz_writer import AUTHOR
from tests.service.replaying import Recording, recording

ACME = "space_acme"
MEMBER = "member_finance_reviewer"
LATER, BEFORE = "2120-01-01T00:00:00Z", "2020-01-01T00:00:00Z"
SENT_GRANT = {
    "role_key": "sent",
    "resource_type": "invoice",
    "action": "approve",
    "scope": "group_tree",
    "space_id": ACME,
    "scope_anchor_group_path": "finance",
}
SENT_TARGET = {
    "type": "invoice",
    "id": "draft",
    "space_id": ACME,
    "group_path": "finance.apac",
    "properties": {"a": True},
}
SENT: dict[str, dict[str, Any]] = {
    "actor": question(actor=actor(user_email="a@b", binding_expires_at=LATER)),
    "grants": question(grants=[SENT_GRANT, SENT_GRANT | {"scope": "space"}]),
    "resource": question(resource_type=None, resource_id=None, resource=SENT_TARGET),
    "all": question(
        actor=actor(user_email="a@b"),
        grants=[SENT_GRANT] * 2,
        resource=SENT_TARGET,
        resource_type=None,
        resource_id=None,
    ),
    "external id": question(
        resource_type=None, resource_id=None, resource={"type": "invoice", "external_id": "e 1", "space_id": ACME}
    ),
    "too many grants": question(
        grants=[SENT_GRANT | {"role_key": f"r{number:03}", "scope_anchor_group_path": "legal"} for number in range(999)]
        + [SENT_GRANT | {"role_key": "z"}]
    ),
}
ELSEWHERE = {
    "user_id": "user_alice",
    "member_id": "m_none",
    "user_member_id": "um_alice_finance_reviewer",
    "space_id": ACME,
}


@pytest.fixture
async def pair(finance_database, clone_database) -> AsyncIterator[Recording]:
    """Both services; beside the example a group further down, a second grant of another role, and two more targets."""
    async with recording(finance_database, clone_database) as both:
        await both.writer.commands.create(
            AUTHOR,
            [
                GroupRow(
                    id="group_tokyo",
                    space_id=ACME,
                    parent_group_id="group_finance_apac",
                    key="tokyo",
                    name="Tokyo",
                    path="finance.apac.tokyo",
                ),
                RoleRow(id="role_clerk", space_id=ACME, key="clerk", name="Clerk"),
                PermissionRow(id="p_self", resource_type="invoice", action="approve", scope="self"),
                PermissionRow(
                    id="p_gold",
                    resource_type="invoice",
                    action="approve",
                    scope="space",
                    condition={"tier": ["gold", 1]},
                ),
                RolePermissionRow(id="rp_self", space_id=ACME, role_id="role_clerk", permission_id="p_self"),
                RolePermissionRow(id="rp_gold", space_id=ACME, role_id="role_clerk", permission_id="p_gold"),
                ResourceTypeRow(id="rt_order", key="order", display_name="Order"),
                ResourceRow(id="invoice_002", resource_type="order", space_id=ACME, group_id="group_legal"),
                MemberRoleRow(id="mr_clerk", space_id=ACME, member_id=MEMBER, role_id="role_clerk"),
                ResourceRow(id="deep", resource_type="invoice", space_id=ACME, group_id="group_tokyo"),
                ResourceRow(
                    id="own", resource_type="invoice", space_id=ACME, owner_member_id=MEMBER, properties={"tier": True}
                ),
            ],
        )
        yield both


def a_change(chance: Random, both: Recording) -> tuple[str, dict[str, Any]]:
    """A row of any noun with something else in it; mostly something that lets decisions be allowed."""
    usual = chance.random() < 0.7
    ids = {
        "user": ["user_alice"],
        "member": [MEMBER],
        "space": [ACME],
        "user_member": ["um_alice_finance_reviewer"],
        "resource_type": ["rt_invoice"],
        "role": ["role_finance_approver", "role_clerk"],
        "permission": ["p_self", "p_gold"],
        "role_permission": ["rp_self", "rp_gold"],
        "member_role": ["mr_clerk", "mr_reviewer_finance_approver"],
        "group": ["group_finance", "group_finance_apac", "group_tokyo"],
        "resource": ["invoice_001", "deep", "own"],
        "resource_action": [],
    }
    for noun in ("resource_type", "resource_action"):
        key = "invoice" if noun == "resource_type" else "approve"
        ids[noun] = [row[0] for row in both.authz.sql(f"select id from authz.{noun} where key = '{key}'")]
    noun = chance.choice(sorted(ids))
    row = both.writer.stored(noun, chance.choice(ids[noun]))
    changed: dict[str, Any] = {"status": "active" if usual else "disabled"}
    match noun:
        case "user_member":
            revoked = {"status": "revoked", "revoked_at": BEFORE}
            changed = {"expires_at": chance.choice([None, LATER, BEFORE])} if usual else revoked
            changed = {"status": "active", "revoked_at": None} | changed
        case "member_role":
            changed = {"scope_anchor_group_id": chance.choice([None, "group_finance", "group_legal", "group_tokyo"])}
            changed |= {"expires_at": chance.choice([None, LATER, BEFORE]), "not_before": chance.choice([None, BEFORE])}
            changed |= (
                {"status": "active", "revoked_at": None} if usual else {"status": "revoked", "revoked_at": BEFORE}
            )
        case "permission":
            changed |= {"condition": chance.choice([None, {"tier": 1}, {"tier": [True, "gold"]}, {}])}
        case "resource":
            changed = {
                "status": "active" if usual else "archived",
                "properties": {"tier": chance.choice([1, True, "gold"])},
            }
            changed |= {"group_id": chance.choice([None, "group_finance", "group_legal_emea", "group_tokyo"])}
            changed |= {"owner_member_id": chance.choice([None, MEMBER])}
    return noun, row | changed


async def move_any(chance: Random, both: Recording) -> None:
    """Move a subtree to where it may go, if it may go there."""
    moved, parent = chance.choice(["group_finance", "group_finance_apac", "group_tokyo", "group_legal_emea"]), None
    if chance.random() < 0.7:
        parent = chance.choice(["group_legal", "group_finance", "group_finance_apac"])
    row, below = both.writer.stored("group", moved), parent and both.writer.stored("group", parent)
    path = f"{below['path']}.{row['key']}" if below else row["key"]
    taken = both.authz.sql("select 1 from authz.group where path = %s", path)
    if not taken and not (below and f"{below['path']}.".startswith(f"{row['path']}.")):
        await both.move_group(moved, parent)


@pytest.mark.parametrize("seed", range(2))
async def test_all_decisions_agree_whatever_was_changed_in_between(pair: Recording, seed: int) -> None:
    chance, outcomes, asked = Random(seed), Counter[str](), 0
    for _ in range(100):
        for _ in range(chance.randrange(3)):
            await (move_any(chance, pair) if chance.random() < 0.3 else pair.writer.change(a_change(chance, pair)))
        stored = question(
            actor=chance.choice([actor(), actor(), actor("um_bob_finance_reviewer"), ELSEWHERE]),
            resource_id=chance.choice(["invoice_001", "invoice_002", "deep", "own", "none"]),
            resource_type=chance.choice(["invoice"] * 5 + ["order"]),
            action=chance.choice(["approve", "approve", "approve", "reject", "fly"]),
        )
        body = chance.choice([*SENT.values()]) if chance.random() < 0.2 else stored
        outcomes[(await pair.authz.decide(body))["deny_code"] or "allow"] += 1
        asked += 1
    await pair.deliver()
    replayed = pair.replay()
    assert replayed.disagreements == []
    assert replayed.decisions == asked
    assert len(outcomes) >= 8, outcomes
    moves = pair.authz.sql("select count(*) from authz.event where kind = 'group.moved'")
    assert moves[0][0] >= 3


@pytest.mark.parametrize("name", SENT)
async def test_what_came_with_the_request_is_taken_from_the_trace_and_the_rest_from_the_history(pair, name) -> None:
    decision_id = await pair.decide(SENT[name])
    await pair.deliver()
    replayed = pair.replay(decision=decision_id)
    assert replayed.disagreements == []
    assert set(replayed.inline) == set(document(pair.leaf(decision_id))["data"]["inline"])
    # The registry never comes with the request.
    pair.rewrite_history(
        "update authz.event set after = after || '{\"status\": \"disabled\"}' where entity_type = 'resource_type'"
    )
    assert "registry.resource_type.status" in pair.found(decision=decision_id)["history_disagrees"]


async def test_the_paths_below_a_group_that_moved_follow_it(pair: Recording) -> None:
    bodies = [question(resource_id=resource_id) for resource_id in ("deep", "invoice_001")]
    ids = [await pair.decide(body) for body in bodies]
    await pair.move_group("group_finance_apac", "group_legal")
    await pair.caught_up()
    ids += [await pair.decide(body) for body in bodies]
    await pair.move_group("group_legal", "group_finance")
    await pair.caught_up()
    ids += [await pair.decide(body) for body in bodies]
    await pair.deliver()
    traces = [document(pair.leaf(id_))["data"] for id_ in ids]
    paths = ["finance.apac.tokyo", "legal.apac.tokyo", "finance.legal.apac.tokyo"]
    assert [trace["target"]["group"]["path"] for trace in traces[::2]] == paths
    assert [trace["decision"] for trace in traces] == ["allow"] * 2 + ["deny"] * 2 + ["allow"] * 2
    assert pair.replay().disagreements == []


async def test_of_candidates_that_were_left_out_the_history_knows_how_many_there_were(pair: Recording) -> None:
    rows: list[Any] = []
    for number in range(300):
        key = f"g{number:03}"
        rows.append(GroupRow(id=f"group_{key}", space_id=ACME, key=key, name="G", path=key))
        grant = {"role_id": "role_finance_approver", "scope_anchor_group_id": f"group_{key}"}
        rows.append(MemberRoleRow(id=f"mr_{key}", space_id=ACME, member_id=MEMBER, **grant))
    await pair.writer.commands.create(AUTHOR, rows)
    await pair.caught_up()
    decision_id = await pair.decide()
    await pair.deliver()
    assert document(pair.leaf(decision_id))["data"]["omitted_candidates"] > 100
    assert pair.replay().disagreements == []
    pair.rewrite(decision_id, lambda trace: trace.update(omitted_candidates=trace["omitted_candidates"] - 1))
    assert "left out, derived" in pair.found()["history_disagrees"]
    pair.rewrite(decision_id, lambda trace: trace.update(omitted_candidates=trace["omitted_candidates"] + 1))
    pair.rewrite(decision_id, lambda trace: trace["candidates"][1]["grant"].update(expires_at=LATER))
    assert set(pair.found()) == {"history_disagrees"}


async def test_a_member_of_another_space_is_derived_as_the_service_does(pair: Recording) -> None:
    await pair.writer.commands.create(AUTHOR, [MemberRow(id="m_idle", space_id=ACME, display_name="Idle")])
    for ids in ({"member_id": "m_idle"}, {"space_id": "space_none"}, {"user_id": "user_bob"}, {"member_id": "none"}):
        await pair.decide(question(actor=actor() | ids))
    await pair.deliver()
    replayed = pair.replay()
    assert (replayed.disagreements, replayed.decisions) == ([], 4)


async def test_a_decision_as_of_an_earlier_revision_is_replayed_when_it_is_named(pair: Recording) -> None:
    """Inserted as audit will keep such events: the same data, with a purpose, and no part of a sample."""
    decision_id = await pair.decide()
    await pair.deliver()
    event = document(pair.leaf(decision_id))
    named = "019a0000-0000-7000-8000-000000000001"
    event |= {"event_id": named, "kind": "decision.as_of"}
    event["data"] |= {"decision_id": named, "purpose": "as_of"}
    leaf = canonical_json(event)
    pair.audit.sql(
        "insert into audit.entry (log_index, recorded_at, occurred_at, epoch, sequence, revision, event_id, kind, source,"
        " decision, leaf_hash, leaf) select max(log_index) + 1, max(recorded_at), now(), 1, 0, 0, %s, 'decision.as_of',"
        " 'authz', 'allow', %s, %s from audit.entry",
        named,
        hash_leaf(leaf),
        leaf,
    )
    assert (pair.replay().decisions, pair.replay(decision=named).decisions) == (1, 1)
    assert pair.found(decision=named) == {}
    pair.rewrite(named, lambda trace: trace.update(revision=8))
    assert "as of revision 8, decision: recorded" in pair.found(decision=named)["history_disagrees"]


async def test_a_sample_is_spread_over_the_range_that_is_asked_for(pair: Recording) -> None:
    ids = [await pair.decide() for _ in range(60)]
    await pair.deliver()
    log = list(pair.audit.leaves())
    first, last = log.index(ids[0]), log.index(ids[-1])
    assert [pair.replay(number=number).decisions for number in (61, 60, 59, 7)] == [60, 60, 59, 7]
    assert pair.replay(number=6).log_indexes == (first, first + 50)
    assert pair.replay(number=60).log_indexes == (first, last)
    ((middle,),) = pair.audit.sql("select recorded_at from audit.entry where log_index = %s", log.index(ids[30]))
    both = pair.replay(since=middle).decisions + pair.replay(until=middle).decisions
    assert (both, pair.replay(since=middle, until=middle).decisions) == (60, 0)


async def test_where_a_part_of_the_range_has_nothing_but_changes_the_others_give_more(pair: Recording) -> None:
    for _ in range(60):
        await pair.decide()
    await pair.deliver()
    members = [MemberRow(id=f"m{number}", space_id=ACME, display_name="M") for number in range(200)]
    await pair.writer.commands.create(AUTHOR, members)
    await pair.deliver()
    await pair.caught_up()
    await pair.deliver()
    assert [pair.replay(number=number).decisions for number in (62, 61, 60, 30, 10)] == [61, 61, 60, 30, 10]


async def test_the_command_says_what_it_replayed_and_what_it_found(pair: Recording, monkeypatch, capsys) -> None:
    monkeypatch.setenv("PLYSTRA_AUTHZ_DSN", pair.authz.database.owner_dsn)
    monkeypatch.setenv("PLYSTRA_AUDIT_DSN", pair.audit.database.owner_dsn)
    assert main(["authz", "replay"]) == 0
    assert "no decision was replayed" in capsys.readouterr().out
    decision_id = await pair.decide()
    await pair.decide(SENT["all"])
    await pair.deliver()
    assert main(["authz", "replay", "--sample", "5", "--since", "2026-01-01T00:00:00Z", "--until", LATER]) == 0
    printed = capsys.readouterr().out
    assert "✓ authz: nothing disagrees (2 decisions replayed, log indexes 47 to 48, revisions 47 to 47" in printed
    assert "from the request came actor of 1, grants of 1, resource of 1" in printed
    pair.rewrite(decision_id, lambda trace: trace["actor"]["user"].update(email="eve@acme.example"))
    assert main(["authz", "replay"]) == 1
    printed = capsys.readouterr().out
    assert f"history_disagrees: decision {decision_id} (log index" in printed
    assert 'actor.user.email: recorded "eve@acme.example", derived "alice@acme.example"' in printed
    assert "next: Run `plystractl authz verify-projections`" in printed
    assert main(["authz", "replay", "--decision", decision_id, "--format", "json"]) == 1
    described = json.loads(capsys.readouterr().out)
    assert (described["exit_code"], described["decisions"], described["inline"]) == (1, 1, {})
    assert [one["code"] for one in described["disagreements"]] == ["history_disagrees"]


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["--since", "yesterday"], "--since: 'yesterday' isn't a time with an offset"),
        (["--until", "2026-01-01T00:00:00"], "write it as 2026-01-31T00:00:00Z"),
        (["--decision", "first"], "--decision: 'first' isn't the id of a decision"),
        (["--decision", "019a0000-0000-7000-8000-000000000001", "--sample", "3"], "leave out the one or the others"),
    ],
)
def test_what_is_asked_wrongly_is_refused_with_the_way_out(capsys, arguments, told) -> None:
    assert main(["authz", "replay", *arguments]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    "authz, audit, code",
    [("authz", "nobody", 3), ("nobody", "audit", 3), ("authz", "authz", 8), ("audit", "audit", 8), ("authz", None, 2)],
)
def test_what_it_cannot_read_it_does_not_call_clean(
    authz_database, audit_database, monkeypatch, capsys, authz, audit, code
) -> None:
    dsns = {"authz": authz_database.owner_dsn, "audit": audit_database.owner_dsn}
    dsns["nobody"] = dsns["authz"].replace("/test_", "/no_")
    for name, given in (("AUTHZ", authz), ("AUDIT", audit)):
        if given is None:
            monkeypatch.delenv(f"PLYSTRA_{name}_DSN", raising=False)
        else:
            monkeypatch.setenv(f"PLYSTRA_{name}_DSN", dsns[given])
    assert main(["authz", "replay"]) == code
    assert "next:" in capsys.readouterr().err
