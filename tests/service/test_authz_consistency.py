"""Guarantees 4 and 6 while the permission graph changes: each decision is that of exactly one revision, and never stale."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import psycopg
import pytest

from services.authz.commands import Author, Change, Commands
from services.authz.engine import decide
from services.authz.model import Trace, Verdict
from services.authz.rows import GroupRow, MemberRoleRow, PermissionRow, ResourceRow, RolePermissionRow
from shared.clock import utc_now
from shared.db import create_pool
from shared.identifiers import new_uuid7
from tests.conftest import ServiceDatabase
from tests.service.authz_service import AuthzDatabase, RunningAuthz, eventually, question, running_authz
from tests.service.history import History

AUTHOR = Author(credential_id=None, request_id="test")
ACME = "space_acme"


class Writer:
    """Changes rows through the one command path; two rows in one transaction are one change of the world."""

    def __init__(self, commands: Commands, database: ServiceDatabase) -> None:
        self.commands = commands
        self.database = database

    def stored(self, entity: str, id_: str) -> dict[str, Any]:
        with psycopg.connect(self.database.app_dsn) as connection:
            ((row,),) = connection.execute(
                f'select to_jsonb(t) from authz."{entity}" t where t.id = %s', [id_]
            ).fetchall()
        return dict(row)

    async def change(self, *changes: tuple[str, dict[str, Any]]) -> int:
        """Write rows (kind, row with other values) in one transaction; returns the last revision."""
        made = [Change(after=row, before=None, entity_type=kind, kind=f"{kind}.changed") for kind, row in changes]
        async with self.commands._pool.acquire() as connection, connection.transaction():
            return await self.commands._commit(connection, AUTHOR, made)


@pytest.fixture
async def writer(finance_database: ServiceDatabase) -> AsyncIterator[Writer]:
    """A writer beside the service, over connections of its own."""
    async with create_pool(finance_database.app_dsn, "test writer", max_size=2) as pool:
        yield Writer(Commands(pool, clock=utc_now, new_event_id=new_uuid7), finance_database)


def verdict_of(trace: Trace) -> Verdict:
    return Verdict(**{name: getattr(trace, name) for name in Verdict.__struct_fields__})


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
    traces = {event["data"]["revision"]: event["data"] for event in events.values()}
    for revision, data in traces.items():
        trace = msgspec.convert(data, Trace)
        derived = decide(history.facts(trace.question, revision), trace.question, trace.decided_at)
        assert derived == verdict_of(trace)


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


@pytest.mark.parametrize("about", CHANGES)
async def test_a_change_of_any_kind_of_row_ends_what_was_known_of_it(authz: RunningAuthz, writer: Writer, about):
    kind, id_, changes, code = CHANGES[about]
    await authz.become_ready()
    assert (await authz.decide())["allow"]
    revision = await writer.change((kind, writer.stored(kind, id_) | changes))

    async def followed() -> Any:
        data = await authz.decide()
        assert (data["revision"] >= revision) == (data["deny_code"] == code and data["revision"] > 36)
        return data["revision"] >= revision and data

    data = await eventually(followed)
    trace = authz.trace(data["decision_id"])
    assert decide(History.of(authz).facts(trace.question, revision), trace.question, trace.decided_at) == verdict_of(
        trace
    )
    if about == "a user's address changes":
        assert trace.actor.user is not None
        assert trace.actor.user.email == "new@acme.example"


async def test_what_did_not_exist_is_found_once_it_is_made(authz: RunningAuthz, writer: Writer):
    await authz.become_ready()
    asked = question(action="reject", resource_id="invoice_new")
    assert (await authz.decide(asked))["deny_code"] == "RESOURCE_NOT_FOUND"
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
        data = await eventually(lambda revision=revision: decided_at_revision(authz, asked, revision))
        assert data["deny_code"] == code, row
    revision = await writer.change(("resource", writer.stored("resource", "invoice_new") | {"group_id": "g_new"}))
    assert (await eventually(lambda: decided_at_revision(authz, asked, revision)))["allow"]


async def decided_at_revision(authz: RunningAuthz, asked: dict[str, Any], revision: int) -> Any:
    data = await authz.decide(asked)
    return data["revision"] >= revision and data


@contextlib.contextmanager
def standing_still(authz: RunningAuthz) -> Iterator[None]:
    """Let the session of the tail answer nothing, as when the network between has gone silent."""
    (pid,) = authz.sessions("tail")
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


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
        data = await eventually(lambda revision=revision: decided_at_revision(authz, question(), revision))
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
