"""`plystractl authz replay`: an event or a history that somebody rewrote past every law is found, and where is told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from shared.ctl.disagreements import FAULTS
from tests.conftest import fresh_database
from tests.service.authz_service import actor, question
from tests.service.authz_writer import Writer
from tests.service.replaying import Recording, recording

TRACE, HISTORY = "trace_disagrees", "history_disagrees"
Edit = Callable[[dict[str, Any]], object]


@pytest.fixture
async def pair(finance_database, clone_database) -> AsyncIterator[Recording]:
    """Both services, and no decision yet."""
    async with recording(finance_database, clone_database) as both:
        yield both


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def told(server, finance_template, template_of) -> AsyncIterator[tuple[Recording, str]]:
    """Both services with two decisions, and the id of the one that is lied about; each test puts its bytes back."""
    with fresh_database(server, "authz", template=finance_template) as database:
        async with recording(database, lambda name: fresh_database(server, name, template=template_of(name))) as both:
            lied_about = await both.decide()
            await both.decide(question(action="reject"))
            await both.deliver()
            yield both, lied_about


async def renamed(writer: Writer) -> None:
    """Change a fact that decides nothing."""
    await writer.change(("user", writer.stored("user", "user_alice") | {"email": "alice@new.example"}))


def flip(trace: dict[str, Any]) -> None:
    """The opposite answer, all else as it was."""
    trace.update(decision="deny", deny_code="SCOPE_OUT_OF_BOUNDS")


def drop(trace: dict[str, Any]) -> None:
    """No candidate, and an answer that fits."""
    trace.update(
        candidates=[], decision="deny", deny_code="NO_MATCHING_PERMISSION", decisive={"step": "candidates_found"}
    )
    trace["checks"][5].update(result="denied", deny_code="NO_MATCHING_PERMISSION")
    trace["checks"][6]["result"] = "not_reached"


def revoke(trace: dict[str, Any]) -> None:
    """A fact that denies, and an answer that fits."""
    trace["actor"]["user"]["status"] = "disabled"
    trace.update(decision="deny", deny_code="ACTOR_USER_INACTIVE", decisive={"step": "actor_active"})
    trace["checks"][1].update(result="denied", deny_code="ACTOR_USER_INACTIVE")
    for check in trace["checks"][2:]:
        check["result"] = "not_reached"


NESTED: Any = None
for _ in range(25):
    NESTED = {"a": NESTED}

LIES: dict[str, tuple[Edit, set[str], str]] = {
    "the answer": (flip, {TRACE, HISTORY}, 'decision: recorded "deny", derived "allow"'),
    "a candidate that is gone": (drop, {HISTORY}, "candidates: recorded 0, derived 1"),
    "a candidate twice": (lambda t: t["candidates"].append(t["candidates"][0]), {HISTORY}, "recorded 2, derived 1"),
    "a fact and the answer with it": (revoke, {HISTORY}, 'actor.user.status: recorded "disabled", derived "active"'),
    "a fact that decides nothing": (
        lambda t: t["actor"]["user"].update(email="eve@x"),
        {HISTORY},
        'actor.user.email: recorded "eve@x", derived "alice@acme.example"',
    ),
    "a fact that decides": (
        lambda t: t["target"]["group"].update(path="legal"),
        {TRACE, HISTORY},
        'target.group.path: recorded "legal", derived "finance.apac"',
    ),
    "a property": (
        lambda t: t["target"]["resource"]["properties"].update(amount=True),
        {HISTORY},
        "target.resource.properties.amount: only recorded",
    ),
    "a property that is null": (
        lambda t: t["target"]["resource"]["properties"].update(amount=None),
        {HISTORY},
        "target.resource.properties.amount: only recorded",
    ),
    "the registry": (
        lambda t: t["registry"]["action"].update(risk_level="low"),
        {HISTORY},
        "registry.action.risk_level",
    ),
    "a scope check": (
        lambda t: t["candidates"][0]["scope_check"].update(covered=False, deny_code="TARGET_GROUP_MISSING"),
        {TRACE, HISTORY},
        "candidates[0].scope_check.covered: recorded false, derived true",
    ),
    "the moment": (lambda t: t.update(decided_at="2019-01-01T00:00:00Z"), set(), ""),
    "a moment of no offset": (
        lambda t: t.update(decided_at="2026-01-01T00:00:00"),
        {"unreadable_trace"},
        "at `$.data.deci",
    ),
    "an id that none can have": (
        lambda t: t["question"]["actor"].update(user_id="a\x7fb"),
        {"unreadable_trace"},
        "user_id`",
    ),
    "a revision beyond every number": (
        lambda t: t.update(revision=2**53 - 1),
        {"revision_unknown"},
        "authz's last is 36",
    ),
    "a property that nests deeply": (
        lambda t: t["target"]["resource"]["properties"].update(a=NESTED),
        {HISTORY},
        "target.resource.properties.a: only recorded",
    ),
    "what was decisive": (
        lambda t: t["decisive"].update(candidate=1),
        {TRACE},
        "decisive.candidate: recorded 1, derived 0",
    ),
    "the steps": (lambda t: t["checks"][4].update(result="denied"), {TRACE}, 'checks[4].result: recorded "denied"'),
    "who asked": (
        lambda t: t["question"]["actor"].update(user_id="user_bob"),
        {TRACE, HISTORY},
        'actor.user.id is "user_alice", asked was "user_bob"',
    ),
    "what was asked about": (
        lambda t: t["question"].update(resource_id="invoice_002"),
        {TRACE, HISTORY},
        'target.resource.id is "invoice_001", asked was "invoice_002"',
    ),
    "which decision it is": (lambda t: t.update(decision_id="another"), {TRACE}, 'decision_id is "another"'),
    "an earlier revision": (lambda t: t.update(revision=5), {HISTORY}, "as of revision 5, decision: recorded"),
    "a revision that is yet to come": (lambda t: t.update(revision=99), {"revision_unknown"}, "authz's last is 36"),
    "a field that is gone": (
        lambda t: t.pop("candidates"),
        {"unreadable_trace"},
        "missing required field `candidates`",
    ),
    "a later form": (lambda t: t.update(trace_version=2), {"unreadable_trace"}, "its trace_version is 2"),
}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", LIES)
async def test_whatever_is_rewritten_in_a_decision_is_found(told: tuple[Recording, str], name: str) -> None:
    edit, codes, seen = LIES[name]
    pair, lied_about = told
    assert pair.found() == {}
    leaf = pair.leaf(lied_about)
    pair.rewrite(lied_about, edit)
    found = pair.replay().disagreements
    pair.overwrite(lied_about, leaf)
    assert {one.code for one in found} == codes
    assert seen in " ".join(one.seen for one in found)
    assert all(one.total == 1 and lied_about in one.subject for one in found)


async def test_the_moment_decides_where_a_validity_ends(pair: Recording) -> None:
    expired = await pair.decide(question(actor=actor("um_alice_finance_reviewer_expired")))
    await pair.deliver()
    pair.rewrite(expired, lambda trace: trace.update(decided_at="2019-01-01T00:00:00Z"))
    assert set(pair.found()) == {TRACE, HISTORY}


async def test_bytes_that_are_no_event_are_found(pair: Recording) -> None:
    decision_id = await pair.decide()
    await pair.deliver()
    for leaf in (b"", b"\xff", b"[" * 60_000, pair.leaf(decision_id)[:-1]):
        pair.overwrite(decision_id, leaf.ljust(2))
        assert set(pair.found()) == {"unreadable_trace"}


async def test_an_id_that_is_no_decisions_is_found(pair: Recording) -> None:
    await pair.deliver()
    (change, *_) = pair.audit.leaves()
    assert pair.found(decision="019a0000-0000-7000-8000-000000000001") == {
        "event_missing": "audit has no event of this id"
    }
    assert pair.found(decision=change) == {"event_missing": "its event is a space.created"}


@pytest.mark.parametrize(
    "statement, codes, seen",
    [
        (
            "update authz.event set after = after || '{\"email\": \"eve@x\"}' where entity_id = 'user_alice'",
            {HISTORY},
            'actor.user.email: recorded "alice@new.example", derived "eve@x"',
        ),
        (
            "update authz.event set after = after || '{\"status\": \"disabled\"}' where entity_type = 'role'",
            {HISTORY},
            "deny_code: recorded null, derived",
        ),
        ("delete from authz.event where entity_type = 'member_role'", {HISTORY, "revision_gap"}, "there are 36 events"),
        ("delete from authz.event where revision = 36", {HISTORY, "revision_gap"}, "up to revision 37 there are 36"),
        (
            "delete from authz.event where revision > 36",
            {"revision_unknown"},
            "taken at revision 37, authz's last is 36",
        ),
        (
            "update authz.event set after = null where entity_type = 'user_member'",
            {HISTORY},
            "actor.user_member: recorded",
        ),
        (
            "update authz.event set after = after - 'path' where entity_id = 'group_finance'",
            {HISTORY, "unreadable_change"},
            "it has no 'path'",
        ),
        (
            "update authz.event set after = after || '{\"status\": 1}' where entity_type = 'member'",
            {HISTORY, "unreadable_change"},
            "Expected `str`, got `int`",
        ),
    ],
)
async def test_whatever_is_rewritten_in_the_history_is_found(pair: Recording, statement, codes, seen) -> None:
    await renamed(pair.writer)
    await pair.caught_up()
    revoked = question(actor=actor("um_alice_finance_reviewer_revoked"))
    for body in (question(), revoked):
        await pair.decide(body)
    await pair.deliver()
    assert pair.found() == {}
    pair.rewrite_history(statement)
    found = pair.found()
    assert set(found) == codes
    assert seen in " ".join(found.values())


async def test_rows_that_somebody_changed_past_the_events_show_in_what_was_decided_on_them(pair: Recording) -> None:
    pair.authz.sql("update authz.member_role set scope_anchor_group_id = 'group_legal'")
    await pair.decide()
    await pair.deliver()
    assert 'candidates[0].anchor.id: recorded "group_legal", derived "group_finance"' in pair.found()[HISTORY]


async def test_of_many_faults_of_a_kind_the_first_is_told_and_all_are_counted(pair: Recording) -> None:
    ids = [await pair.decide() for _ in range(5)]
    await pair.deliver()
    for decision_id in ids[1:4]:
        pair.rewrite(decision_id, flip)
    found = pair.replay().disagreements
    assert [(one.code, one.total, ids[1] in one.subject) for one in found] == [(TRACE, 3, True), (HISTORY, 3, True)]


def test_every_fault_that_is_told_says_why_and_what_next() -> None:
    assert all(why.endswith(".") and remedy.endswith(".") for why, remedy in FAULTS.values())
    told = {code for _, codes, _ in LIES.values() for code in codes}
    assert told | {"event_missing", "revision_gap", "unreadable_change"} == set(FAULTS)
