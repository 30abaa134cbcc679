"""Facts in memory: no statement when warm, never from the past, never of two revisions in one decision."""

from __future__ import annotations

import asyncio
import collections
import time
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import asyncpg
import msgspec
import pytest
import structlog

from services.authz.cache import Changes
from services.authz.commands import Commands, Outcome
from services.authz.directory import Place
from services.authz.engine import decide
from services.authz.facts import FactSource
from services.authz.journal import Author, Change
from services.authz.model import Facts, GrantedPermission, Question
from services.authz.nouns import NOUNS
from services.authz.rows import MemberRoleRow, PermissionRow, RolePermissionRow
from services.authz.tail import Tail
from shared.clock import utc_now
from shared.db import Connection, Session, connect, create_pool
from shared.identifiers import new_uuid7
from tests.conftest import ServiceDatabase
from tests.service.authz_service import AuthzDatabase, RunningAuthz, actor, eventually, question, running_authz

AUTHOR = Author(credential_id=None, request_id="test-facts")


@pytest.fixture
async def commands(finance_database: ServiceDatabase) -> AsyncIterator[Commands]:
    async with create_pool(finance_database.app_dsn, "test commands", max_size=2) as pool:
        yield Commands(pool, clock=utc_now, new_event_id=new_uuid7)


@pytest.mark.parametrize("verdict_entries", [0, 100])
async def test_a_warm_check_runs_no_statement_but_the_group_commit(
    finance_database: ServiceDatabase, verdict_entries: int
) -> None:
    statements = AuthzDatabase(finance_database).log_statements()
    async with running_authz(finance_database, verdict_entries=verdict_entries) as authz:
        await authz.become_ready()
        warm = (question(), question(action="reject"), question(resource_id="invoice_002"))
        for body in warm:
            await authz.decide(body)
        assert any("authz.user_member" in statement for part, statement in statements() if part == "facts")
        for turn in range(200):
            await authz.decide(warm[turn % 3])
        run = collections.defaultdict(list)
        for part, statement in statements():
            run[part].append(statement)
    assert run.keys() <= {"outbox", "facts", "tail"}
    assert len(run["outbox"]) == 200
    assert all(statement.startswith("insert into authz.outbox ") for statement in run["outbox"])
    # By the clock, not by the check: the backlog is counted, the tail follows, a key is looked up again, maintenance too.
    by_the_clock = ("authz.outbox_writer", "authz.credential", "authz.maintenance", "SELECT pg_")
    assert all(any(part in statement for part in by_the_clock) for statement in run["facts"])
    assert len(run["facts"]) < 50
    assert all("authz.event where revision > $1" in statement for statement in run["tail"])


async def test_a_change_is_seen_by_the_checks_that_follow_it(authz: RunningAuthz, commands: Commands) -> None:
    await authz.become_ready()
    denied = await authz.decide(question(action="reject"))
    assert denied["deny_code"] == "NO_MATCHING_PERMISSION"
    revision = await commands.create(
        AUTHOR,
        [
            PermissionRow(id="perm_reject", resource_type="invoice", action="reject", scope="space"),
            RolePermissionRow(
                id="rp_reject",
                space_id="space_acme",
                role_id="role_finance_approver",
                permission_id="perm_reject",
            ),
        ],
    )

    async def allowed() -> Any:
        data = await authz.decide(question(action="reject"))
        assert data["allow"] == (data["revision"] >= revision)  # never before, never not after
        return data["allow"] and data

    data = await eventually(allowed, seconds=2)
    assert data["revision"] == revision


async def test_a_grant_to_another_member_leaves_what_is_known_of_this_one(
    authz: RunningAuthz, commands: Commands
) -> None:
    await authz.become_ready()
    await authz.decide()
    revision = await commands.create(
        AUTHOR,
        [
            MemberRoleRow(
                id="mr_creator",
                space_id="space_acme",
                member_id="member_invoice_creator",
                role_id="role_finance_approver",
            )
        ],
    )

    async def followed() -> bool:
        data = await authz.decide()
        assert data["allow"]
        return bool(data["revision"] == revision)

    await eventually(followed, seconds=2)


async def test_when_the_tail_is_cut_off_beyond_the_bound_facts_are_read_through(
    finance_database: ServiceDatabase, commands: Commands
) -> None:
    source = await facts_of(finance_database)
    async with source.pool:
        asked = msgspec.convert(question(), Question)
        first = await source.facts.gather(asked)
        assert decide(first.facts, asked, utc_now()).decision == "allow"
        assert source.tail.age == float("inf")  # it never followed: nothing in memory may be used
        revoked = Place(NOUNS["user_member"], "um_alice_finance_reviewer", "space_acme")
        revision = (await commands.end(AUTHOR, revoked, reason="read-through test")).revision
        second = await source.facts.gather(asked)
        assert decide(second.facts, asked, utc_now()).deny_code == "USER_MEMBER_REVOKED"
        assert second.revision == revision
        assert len(source.facts.actors) == 0


async def test_facts_of_one_decision_are_never_of_two_revisions(
    finance_database: ServiceDatabase, commands: Commands
) -> None:
    """A role and a resource change together, over and over; every answer fits the one state of its revision."""
    source = await facts_of(finance_database)
    asked = msgspec.convert(question(), Question)
    async with source.pool:
        following = asyncio.create_task(source.tail.run())
        states: dict[int, tuple[str, str]] = {}
        toggling = asyncio.create_task(toggle(finance_database, commands, states, rounds=40))
        seen: list[tuple[int, str, str]] = []

        async def gather() -> None:
            while not toggling.done():
                known = await source.facts.gather(asked)
                seen.append((known.revision, role_status(known.facts), resource_status(known.facts)))
                await asyncio.sleep(0)

        # Many at once: one finds in memory what another has just read, ahead of the tail.
        await asyncio.gather(*(gather() for _ in range(16)))
        await toggling
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    assert len({revision for revision, _, _ in seen}) > 5
    for revision, role, resource in seen:
        assert (role, resource) == states.get(revision, ("active", "active")), revision


async def test_what_was_read_ahead_of_the_tail_is_never_mixed_with_what_was_read_before(
    finance_database: ServiceDatabase, commands: Commands
) -> None:
    """The role is in memory, the resource is not; both change together while the tail stands still."""
    source = await facts_of(finance_database)
    asked = msgspec.convert(question(), Question)
    async with source.pool:
        following = asyncio.create_task(source.tail.run())
        await eventually(lambda: _is_followed(source.tail))
        await source.facts.gather(msgspec.convert(question(resource_id="invoice_002"), Question))
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await toggle(finance_database, commands, {}, rounds=1)
        # The second finds in memory what the first has read and waits with.
        first = asyncio.create_task(source.facts.gather(asked))
        await eventually(lambda: _is_known(source.facts, asked))
        second = await source.facts.gather(asked)
        for known in (second, await first):
            assert (role_status(known.facts), resource_status(known.facts)) == ("disabled", "archived")
            assert known.revision == 38


async def toggle(
    database: ServiceDatabase, commands: Commands, states: dict[int, tuple[str, str]], rounds: int
) -> None:
    connection = await asyncpg.connect(database.app_dsn)
    try:
        role = msgspec.json.decode(
            await connection.fetchval("select to_jsonb(r)::text from authz.role r where id = 'role_finance_approver'")
        )
        resource = msgspec.json.decode(
            await connection.fetchval("select to_jsonb(r)::text from authz.resource r where id = 'invoice_001'")
        )
    finally:
        await connection.close()
    for turn in range(rounds):
        status = ("disabled", "archived") if turn % 2 == 0 else ("active", "active")
        changes = [
            Change(after=role | {"status": status[0]}, before=role, entity_type="role", kind="role.disabled"),
            Change(
                after=resource | {"status": status[1]}, before=resource, entity_type="resource", kind="resource.moved"
            ),
        ]

        async def work(
            session: Session, now: datetime, changes: list[Change] = changes, status: tuple[str, str] = status
        ) -> Outcome:
            _, last = await commands.write(session, AUTHOR, changes, now)
            # Both are one transaction: no reader may see the revision between them.
            states[last] = status
            return Outcome(data={}, revision=last)

        await commands.run(work)
        await asyncio.sleep(0)


def role_status(facts: Facts) -> str:
    granted: GrantedPermission = facts.granted[0]
    return granted.role.status


def resource_status(facts: Facts) -> str:
    assert facts.target.resource is not None
    return facts.target.resource.status


class _Source:
    def __init__(self, pool: Any, tail: Tail, facts: FactSource) -> None:
        self.pool, self.tail, self.facts = pool, tail, facts


async def facts_of(database: ServiceDatabase) -> _Source:
    """A source of facts of its own, whose tail runs only if the test lets it."""

    async def connect_tail() -> Connection:
        return await connect(database.app_dsn, "test tail")

    changes, pool = Changes(), create_pool(database.app_dsn, "test facts", max_size=4)
    tail = Tail(connect_tail, changes, time.monotonic, structlog.get_logger())
    return _Source(pool, tail, FactSource(pool, tail, changes, staleness_seconds=2.0, cache_entries=10))


async def test_the_cache_stays_within_its_limit(finance_database: ServiceDatabase) -> None:
    source = await facts_of(finance_database)
    async with source.pool:
        following = asyncio.create_task(source.tail.run())
        await eventually(lambda: _is_followed(source.tail))
        for turn in range(50):
            await source.facts.gather(msgspec.convert(question(resource_id=f"none_{turn}"), Question))
        assert len(source.facts.resources) == 10
        assert len(source.facts.actors) == 1
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def test_a_tail_that_is_stopped_in_the_moment_of_a_notification_stops(finance_database: ServiceDatabase) -> None:
    source = await facts_of(finance_database)
    for _ in range(3):
        following = asyncio.create_task(source.tail.run())
        await eventually(lambda: _is_followed(source.tail))
        # Until it waits for the next change; then the change and the stop come in one turn of the loop.
        await asyncio.wait({following}, timeout=0.05)
        source.tail._wake.set()
        following.cancel()
        ended, _ = await asyncio.wait({following}, timeout=5)
        following.cancel()
        assert ended


async def test_what_two_actors_and_a_resource_have_in_common_is_in_memory_once(
    finance_database: ServiceDatabase,
) -> None:
    source = await facts_of(finance_database)
    async with source.pool:
        following = asyncio.create_task(source.tail.run())
        await eventually(lambda: _is_followed(source.tail))
        for binding in ("um_alice_finance_reviewer", "um_bob_finance_reviewer"):
            await source.facts.gather(msgspec.convert(question(actor=actor(binding)), Question))
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    (alice, bob), (invoice,) = source.facts.actors._entries.items(), source.facts.resources._entries.values()
    spaces = [key.space_id for key, _ in (alice, bob)] + [
        entry.value.facts.member.space_id for _, entry in (alice, bob)
    ]
    assert spaces == ["space_acme"] * 4
    assert {id(space_id) for space_id in spaces} == {id(invoice.value.resource.space_id)}


async def _is_known(facts: FactSource, asked: Question) -> bool:
    return facts.resources.get((asked.resource_type, asked.resource_id)) is not None


async def _is_followed(tail: Tail) -> bool:
    return tail.age < 2
