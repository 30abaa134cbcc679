"""Guarantees 4 and 6 while the permission graph changes: each decision is that of exactly one revision, and never stale."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from services.authz.engine import decide
from services.authz.model import Facts, Trace
from tests.conftest import ServiceDatabase
from tests.service.authz_service import (
    AuthzDatabase,
    RunningAuthz,
    eventually,
    question,
    running_authz,
    standing_still,
)
from tests.service.authz_writer import Writer, writing
from tests.service.history import History, verdict_of

ACME = "space_acme"


@pytest.fixture
async def writer(finance_database: ServiceDatabase) -> AsyncIterator[Writer]:
    """A writer beside the service of this test."""
    async with writing(finance_database) as writer:
        yield writer


# Far from the bound nearly all is read from memory, and below any age of the tail all is read through.
@pytest.mark.parametrize("staleness_ms", [2_000, 1])
async def test_every_decision_is_that_of_one_revision_while_two_rows_change_together(
    finance_database: ServiceDatabase, writer: Writer, staleness_ms
):
    """Resource and anchor move together between two subtrees: in either world the answer is allow, in a mixture deny."""
    resource = writer.stored("resource", "invoice_001")
    grant = writer.stored("member_role", "mr_reviewer_finance_approver")
    worlds = [
        (resource | {"group_id": "group_legal_emea"}, grant | {"scope_anchor_group_id": "group_legal"}),
        (resource, grant),
    ]
    ends = {36}
    stopped = asyncio.Event()

    async def toggle() -> None:
        for turn in range(40):
            moved, anchored = worlds[turn % 2]
            ends.add(await writer.change(("resource", moved), ("member_role", anchored)))
        stopped.set()

    async with running_authz(finance_database, staleness_ms=staleness_ms) as authz:
        await authz.become_ready() if staleness_ms > 1_000 else await authz.decide()
        allowed: list[dict[str, Any]] = []

        async def ask() -> None:
            while not stopped.is_set():
                allowed.append(await authz.decide())

        await asyncio.gather(toggle(), *(ask() for _ in range(6)))
        events = {event["event_id"]: event for event in authz.events()}
        history = History.of(authz)
    assert {data["deny_code"] for data in allowed} == {None}
    revisions = {data["revision"] for data in allowed}
    assert revisions <= ends, "a revision in the middle of a transaction"
    assert len(revisions) > 5
    facts: dict[int, Facts] = {}
    for event in events.values():
        trace = msgspec.convert(event["data"], Trace)
        if trace.revision not in facts:
            facts[trace.revision] = history.facts(trace.question, trace.revision)
        assert decide(facts[trace.revision], trace.question, trace.decided_at) == verdict_of(trace)
    assert set(facts) >= revisions


async def decided_at_revision(authz: RunningAuthz, revision: int) -> Any:
    data = await authz.decide()
    return data["revision"] >= revision and data


async def test_a_tail_that_is_silent_beyond_the_bound_makes_checks_read_through_until_it_is_back(
    finance_database: ServiceDatabase, writer: Writer
):
    async with running_authz(finance_database, staleness_ms=400) as authz:
        await authz.become_ready()
        assert (await authz.decide())["allow"]
        with standing_still(authz):
            ready = await eventually(lambda: is_unready(authz))
            assert "The log of changes was last followed" in ready["detail"]
            for code, changes in [
                ("RESOURCE_INACTIVE", {"status": "archived"}),
                (None, {"status": "active"}),
                ("SCOPE_OUT_OF_BOUNDS", {"group_id": "group_legal"}),
            ]:
                revision = await writer.change(("resource", writer.stored("resource", "invoice_001") | changes))
                # Not eventually: the very next answer knows of the change.
                data = await authz.decide()
                assert (data["deny_code"], data["revision"]) == (code, revision)
        await authz.become_ready()
        data = await authz.decide()
        assert (data["deny_code"], data["revision"]) == ("SCOPE_OUT_OF_BOUNDS", revision)


async def is_unready(authz: RunningAuthz) -> Any:
    response = await authz.client.get("/api/v1/ready")
    return response.status_code == 503 and response.json()


async def test_a_tail_that_is_cut_off_follows_again_without_missing_a_change(authz: RunningAuthz, writer: Writer):
    await authz.become_ready()
    await authz.decide()
    row = writer.stored("resource", "invoice_001")
    for turn in range(6):
        authz.cut("tail")
        status = ("archived", "active")[turn % 2]
        revision = await writer.change(("resource", row | {"status": status}))
        data = await eventually(lambda revision=revision: decided_at_revision(authz, revision))
        assert data["allow"] == (status == "active")


async def test_many_misses_at_once_share_few_statements(finance_database: ServiceDatabase):
    statements = AuthzDatabase(finance_database).log_statements()
    async with running_authz(finance_database) as authz:
        await authz.become_ready()
        await authz.check(b"")
        statements()
        responses = await asyncio.gather(*(authz.check(question(resource_id=f"missing_{n % 200}")) for n in range(400)))
        assert {response.json()["data"]["deny_code"] for response in responses} == {"RESOURCE_NOT_FOUND"}
        run = [statement for part, statement in statements() if part == "facts"]
    for what, most in [
        ("as asked (resource_type, id)", 6),
        ("as asked (user_id, space_id", 3),
        ("as asked (role_id)", 3),
        ("authz.resource_type t", 3),
    ]:
        assert 1 <= sum(what in statement for statement in run) <= most, what
