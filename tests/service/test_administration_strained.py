"""Administration goes on for the others while some of it waits or fails: no command and no wait takes all sessions."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from services.authz import commands
from services.authz.cursor import write_cursor
from tests.service.admin import ACME, API, refused, send
from tests.service.authz_service import RunningAuthz, eventually

MEMBERS = f"{ACME}/members"
LOCK = "select pg_advisory_xact_lock(hashtext('plystra.authz.event'))"


async def somebody_waits(authz: RunningAuthz) -> bool:
    """Whether a command waits at the database for its turn."""
    return bool(authz.as_superuser("select 1 from pg_locks where locktype = 'advisory' and not granted"))


async def test_it_is_read_while_commands_wait_for_another_process(authz: RunningAuthz):
    with psycopg.connect(authz.database.owner_dsn) as other:
        other.execute(LOCK)
        waiting = [asyncio.create_task(send(authz, "POST", MEMBERS, {"display_name": "x"})) for _ in range(8)]
        await eventually(lambda: somebody_waits(authz))
        assert (await send(authz, "GET", f"{API}/users")).status_code == 200
        assert not any(task.done() for task in waiting)
    assert [answer.status_code for answer in await asyncio.gather(*waiting)] == [201] * 8


async def test_it_is_read_and_written_while_others_wait_for_a_revision_to_come(authz: RunningAuthz):
    await authz.become_ready()
    path = f"{API}/users?at_least_revision=1000000"
    waiting = [asyncio.create_task(send(authz, "GET", path)) for _ in range(8)]
    await asyncio.sleep(0)
    assert (await send(authz, "GET", f"{API}/users")).status_code == 200
    assert (await send(authz, "POST", MEMBERS, {"display_name": "x"})).status_code == 201
    assert not any(task.done() for task in waiting)
    assert {answer.json()["code"] for answer in await asyncio.gather(*waiting)} == {"revision_not_reached"}


async def test_a_command_that_waits_too_long_for_its_turn_is_told_to_come_back(
    authz: RunningAuthz, monkeypatch: pytest.MonkeyPatch
):
    with psycopg.connect(authz.database.owner_dsn) as other:
        other.execute(LOCK)
        first = asyncio.create_task(send(authz, "POST", MEMBERS, {"display_name": "x"}))
        await eventually(lambda: somebody_waits(authz))
        monkeypatch.setattr(commands, "TURN_SECONDS", 0.05)
        answer = await send(authz, "POST", MEMBERS, {"display_name": "y"})
        assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
    monkeypatch.undo()
    assert (await first).status_code == 201
    assert (await send(authz, "POST", MEMBERS, {"display_name": "y"})).status_code == 201


async def test_a_command_that_nobody_waits_for_any_more_leaves_its_turn_to_the_next(authz: RunningAuthz):
    with psycopg.connect(authz.database.owner_dsn) as other:
        other.execute(LOCK)
        left = [asyncio.create_task(send(authz, "POST", MEMBERS, {"display_name": "x"})) for _ in range(3)]
        await eventually(lambda: somebody_waits(authz))
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
    assert (await send(authz, "POST", MEMBERS, {"display_name": "y"})).status_code == 201
    assert authz.sql("select count(*) from authz.event where after ->> 'display_name' = 'x'") == [(0,)]


async def test_a_refusal_that_can_not_be_put_into_words_is_to_be_asked_again(
    authz: RunningAuthz, monkeypatch: pytest.MonkeyPatch
):
    tell = commands.problem_of

    async def cut_off(*broken: Any) -> Any:
        authz.cut("commands")
        return await tell(*broken)

    monkeypatch.setattr(commands, "problem_of", cut_off)
    body = {"key": "x", "name": "x", "parent_group_id": "nowhere"}
    await refused(authz, 503, "database_unavailable", "POST", f"{ACME}/groups", body)


async def test_a_text_that_no_row_can_hold_is_the_clients_fault(authz: RunningAuthz):
    problem = await refused(authz, 400, "validation_failed", "GET", f"{API}/users?email=a%00")
    assert problem["errors"][0]["parameter"] == "email"
    asked = {"noun": "user", "space_id": None, "email": None, "status": None}
    for last in ("\x00", "user\x00", "\x7f"):
        cursor = write_cursor((last,), asked)
        await refused(authz, 400, "invalid_cursor", "GET", f"{API}/users?cursor={cursor}")
