"""Guarantee 4: a recorded decision is derived again from the bytes of its event, and from the log of changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, get_args

import msgspec
import pytest

from services.authz.engine import decide
from services.authz.model import Fact, Trace
from services.authz.rows import GroupRow
from shared.envelope import MAX_LEAF_BYTES, Event
from shared.recorded import read_event
from tests.service.authz_service import AuthzDatabase, RunningAuthz, actor, question, running_authz
from tests.service.authz_writer import AUTHOR, writing
from tests.service.history import History, facts_of, verdict_of

module_wide = pytest.mark.asyncio(loop_scope="module")

ACME = "space_acme"
GRANT = {
    "role_key": "sent",
    "resource_type": "invoice",
    "action": "approve",
    "scope": "group_tree",
    "space_id": ACME,
    "scope_anchor_group_path": "legal",
}
TARGET = {"type": "invoice", "id": "x", "space_id": ACME, "group_path": "finance.apac"}


def sent(grants: list[Any] | None = None, **target: Any) -> dict[str, Any]:
    return question(resource_type=None, resource_id=None, resource=TARGET | target, grants=grants)


STORED = [
    question(actor=actor(binding), action=action, resource_id=resource_id)
    for binding in (
        "um_alice_finance_reviewer",
        "um_bob_finance_reviewer",
        "um_alice_finance_reviewer_revoked",
        "um_alice_finance_reviewer_expired",
        "um_missing",
    )
    for action in ("approve", "reject", "fly")
    for resource_id in ("invoice_001", "invoice_002", "missing")
]
# As deep as a thousand groups, as long as a path can be, and a subtree that does not hold the target.
DEEP = ".".join(f"g{n}" for n in range(1_000))
LONG = "a" * 16_384
SENT = [
    sent(properties={"b": 1, "a": {"z": ["ü", {"y": None, "x": True}], "c": "\u2028\x7f"}}),
    question(
        actor=actor(
            user_email="ü@b", member_display_name='"quoted" \\ \u20ac', binding_expires_at="2120-01-01T00:00:00.5Z"
        )
    ),
    question(actor=actor(user_email=None, space_name="s", user_status="disabled")),
    sent([GRANT, GRANT | {"scope_anchor_group_path": "finance"}]),
    sent([GRANT | {"scope": "global"}, GRANT | {"space_id": "elsewhere"}]),
    sent([]),
    sent([GRANT | {"scope_anchor_group_path": DEEP[:2000].rstrip(".")}], group_path=DEEP),
]
LARGE = {
    "a thousand grants that all miss": sent([GRANT] * 1_000),
    "a thousand grants of which the last in order covers": sent(
        [GRANT | {"role_key": f"r{n:03}"} for n in range(999)] + [GRANT | {"role_key": "z", "scope": "space"}]
    ),
    "a thousand grants of which the first in order covers": sent(
        [GRANT | {"role_key": f"r{n:03}"} for n in range(999)] + [GRANT | {"role_key": "a", "scope": "space"}]
    ),
    "a thousand grants of which one reaches into another space": sent(
        [GRANT | {"role_key": f"r{n:03}", "scope": "space"} for n in range(999)]
        + [GRANT | {"role_key": "z", "space_id": "elsewhere"}]
    ),
    "a thousand grants of which one misses by less": sent(
        [GRANT | {"role_key": f"r{n:03}", "scope_anchor_group_path": None} for n in range(999)]
        + [GRANT | {"role_key": "z"}]
    ),
    "five grants with the longest paths": sent([GRANT | {"scope_anchor_group_path": LONG}] * 5, group_path=LONG),
    "everything as long as it may be": question(
        actor=dict.fromkeys(actor(), "x" * 128)
        | dict.fromkeys(("user_email", "member_display_name", "space_name", "binding_relation_type"), "€" * 256)
        | {"binding_expires_at": "2120-01-01T00:00:00.123456Z"},
        resource_type=None,
        resource_id=None,
        resource={
            "type": "invoice",
            "id": "x" * 128,
            "external_id": "€" * 256,
            "space_id": "x" * 128,
            "group_path": LONG,
            "owner_member_id": "x" * 128,
            "properties": {"a": "x" * 16_376},
        },
        grants=[
            GRANT | {"role_key": "x" * 128, "space_id": "x" * 128, "scope_anchor_group_path": f"{LONG[:-3]}{n:03}"}
            for n in range(10)
        ],
    ),
    "no grant but the largest target": sent([], properties={"a": "x" * 16_376}, group_path=LONG),
}


def canonical(document: bytes) -> bytes:
    """RFC 8785 for the profile of events, by another writer."""
    return json.dumps(json.loads(document), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


async def recorded(finance: RunningAuthz, body: dict[str, Any]) -> tuple[bytes, Trace]:
    """Ask; the bytes that were recorded, and the trace that they hold."""
    data = await finance.decide(body)
    event = finance.leaf(data["decision_id"])
    trace = msgspec.json.decode(event, type=dict[str, msgspec.Raw])["data"]
    return event, msgspec.json.decode(trace, type=Trace)


@module_wide
@pytest.mark.parametrize("body", [*STORED[:6], *SENT, *LARGE.values()])
async def test_an_event_is_canonical_and_is_what_audit_takes(finance: RunningAuthz, body):
    event, trace = await recorded(finance, body)
    assert event == canonical(event)
    assert len(event) <= MAX_LEAF_BYTES
    row = read_event(event)
    assert (row.decision, row.deny_code) == (trace.decision, trace.deny_code)


@module_wide
@pytest.mark.parametrize("body", [*STORED, *SENT])
async def test_the_verdict_is_derived_again_from_the_trace_in_every_detail(finance: RunningAuthz, body):
    _, trace = await recorded(finance, body)
    assert trace.omitted_candidates == 0
    assert decide(facts_of(trace), trace.question, trace.decided_at) == verdict_of(trace)


@module_wide
@pytest.mark.parametrize("name", LARGE)
async def test_a_trace_that_would_be_too_large_keeps_what_settles_the_decision(finance: RunningAuthz, name):
    event, trace = await recorded(finance, LARGE[name])
    asked = len(LARGE[name]["grants"])
    assert len(trace.candidates) + trace.omitted_candidates == asked
    assert trace.omitted_candidates > 0 or asked == 0
    assert len(event) <= MAX_LEAF_BYTES
    assert decide(facts_of(trace), trace.question, trace.decided_at) == verdict_of(trace)


@module_wide
@pytest.mark.parametrize(
    "name, code",
    [
        ("a thousand grants that all miss", "SCOPE_OUT_OF_BOUNDS"),
        ("a thousand grants of which the last in order covers", None),
        ("a thousand grants of which the first in order covers", None),
        ("a thousand grants of which one reaches into another space", "CROSS_SPACE_VIOLATION"),
        ("a thousand grants of which one misses by less", "SCOPE_OUT_OF_BOUNDS"),
        ("five grants with the longest paths", None),
        ("no grant but the largest target", "NO_MATCHING_PERMISSION"),
    ],
)
async def test_what_is_left_out_never_changes_the_answer(finance: RunningAuthz, name, code):
    data = await finance.decide(LARGE[name])
    assert data["deny_code"] == code


@module_wide
@pytest.mark.parametrize("body", STORED)
async def test_the_verdict_is_derived_again_from_the_log_of_changes(finance: RunningAuthz, body):
    _, trace = await recorded(finance, body)
    facts = History.of(finance).facts(trace.question, trace.revision)
    assert decide(facts, trace.question, trace.decided_at) == verdict_of(trace)
    assert (facts.actor, facts.registry, facts.target) == (trace.actor, trace.registry, trace.target)


async def test_a_group_that_a_move_took_along_is_derived_from_the_one_event_of_the_move(finance_database):
    body = question(resource_id="invoice_002")  # in legal.emea, and the anchor is finance
    namesake = GroupRow(id="group_legalops", space_id=ACME, key="legalops", name="Not below legal", path="legalops")
    async with writing(finance_database) as writer, running_authz(finance_database) as authz:
        await writer.commands.create(AUTHOR, [namesake])
        moves = [await writer.move("group_legal", "group_finance"), await writer.move("group_legal", None)]
        there_and_back = []
        for revision, parent_id in zip(moves, ["group_finance", None], strict=True):
            moved = await writer.move("group_legal", parent_id)
            _, trace = await recorded(authz, body | {"at_least_revision": moved})
            there_and_back.append((trace.decision, trace.target.group and trace.target.group.path))
            facts = History.of(authz).facts(trace.question, trace.revision)
            assert decide(facts, trace.question, trace.decided_at) == verdict_of(trace)
            assert facts.target == trace.target
            stored = dict(authz.sql("select id, path from authz.group"))
            assert {id_: row["path"] for id_, row in History.of(authz).rows(moved)["group"].items()} == stored
            # As of an earlier move of the same subtree it is as it was then.
            assert History.of(authz).facts(trace.question, revision).target == trace.target
    assert there_and_back == [("allow", "finance.legal.emea"), ("deny", "legal.emea")]


async def test_properties_and_conditions_that_are_stored_are_written_in_order_of_their_keys(finance_database):
    database = AuthzDatabase(finance_database)
    database.sql(
        """update authz.resource set properties = '{"bb": 1, "a": {"z": 1, "yy": 2}, "ccc": [{"b": 1, "aa": 2}]}'"""
    )
    database.sql(
        """update authz.permission set condition = '{"ccc": [[{"aa": 2, "b": 1}]], "bb": 1, "a": {"yy": 2, "z": 1}}'"""
    )
    async with running_authz(finance_database) as authz:
        event, trace = await recorded(authz, question())
    assert event == canonical(event)
    assert trace.decision == "allow"
    assert decide(facts_of(trace), trace.question, trace.decided_at) == verdict_of(trace)


# A chain of groups whose last has the longest path that there can be, and everything beside it as long as its law allows.
GREATEST = (
    """insert into authz.group (id, space_id, parent_group_id, key, name, path, created_at, updated_at, revision)
    select 'deep_' || n, 'space_acme', case when n > 1 then 'deep_' || n - 1 end, repeat('k', 63), 'deep',
        repeat(repeat('k', 63) || '.', n - 1) || repeat('k', 63), now(), now(), 36 from generate_series(1, 256) n""",
    """update authz.user set email = repeat('😀', 318) || '@x' where id = 'user_alice'""",
    """update authz.space set name = repeat('😀', 256)""",
    """update authz.member set display_name = repeat('😀', 256)""",
    """update authz.user_member set relation_type = repeat('😀', 256), expires_at = '9999-12-31T23:59:59.999999Z'
    where status = 'active'""",
    """update authz.member_role set scope_anchor_group_id = 'deep_256', not_before = '0001-01-01T00:00:00Z'""",
    """update authz.permission set condition = jsonb_build_object('a', repeat('x', 1991))""",
    """update authz.resource set group_id = 'deep_256', external_id = repeat('😀', 256),
    properties = jsonb_build_object('a', repeat('x', 16375))""",
)


@pytest.mark.parametrize("action", ["approve", "reject"])
async def test_rows_that_are_as_large_as_the_laws_let_them_be_are_decided_on(finance_database, action):
    for statement in GREATEST:
        AuthzDatabase(finance_database).sql(statement)
    async with running_authz(finance_database) as authz:
        event, trace = await recorded(authz, question(action=action))
    assert trace.target.group is not None
    assert len(trace.target.group.path) == 16_383
    assert (event, trace.omitted_candidates) == (canonical(event), 0)
    assert decide(facts_of(trace), trace.question, trace.decided_at) == verdict_of(trace)


def structs_within(kind: Any) -> Iterator[type[msgspec.Struct]]:
    """Every Struct that a value of this type can hold, itself first."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield kind
        for field in msgspec.structs.fields(kind):
            yield from structs_within(field.type)
    for inner in get_args(kind):
        yield from structs_within(inner)


def test_every_struct_that_is_written_into_an_event_declares_its_fields_in_order():
    found = {*structs_within(Trace), *structs_within(Event)}
    assert len(found) > 15
    assert all(issubclass(kind, Fact) for kind in found - {Event})
    for kind in found:
        assert list(kind.__struct_fields__) == sorted(kind.__struct_fields__), kind.__name__
