"""Maintenance: one switch in the database lets every replica refuse everything but what monitors ask, until it is off again."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import psycopg
import pytest
import structlog

from services.authz.maintenance import Maintenance
from shared.ctl.__main__ import main
from shared.db import create_pool
from shared.web.gate import OPEN_PATHS, Gate
from shared.web.litestar_app import path_template, routes_with_permissions
from tests.conftest import ServiceDatabase, connect
from tests.service.authz_service import CHECK, AuthzDatabase, RunningAuthz, bearer, eventually, running_authz

REASON = "the disk is being replaced"
BOUND_SECONDS = 1.0

Operate = Callable[..., dict[str, Any]]


@pytest.fixture
def operate(finance_database: ServiceDatabase, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """A function that runs `plystractl maintenance` on this test's database and returns its report."""
    monkeypatch.setenv("PLYSTRA_AUTHZ_DSN", finance_database.owner_dsn)

    def run(*arguments: str) -> dict[str, Any]:
        capsys.readouterr()
        assert main(["maintenance", *arguments, "--format", "json"]) == 0
        document: dict[str, Any] = json.loads(capsys.readouterr().out)
        return document

    return run


async def closed(authz: RunningAuthz) -> bool:
    """Whether the gate is closed, by a request that costs nothing else."""
    return bool((await authz.client.get(CHECK)).json()["code"] == "maintenance")


async def opened(authz: RunningAuthz) -> bool:
    return not await closed(authz)


async def seconds_until(arrived: Callable[[RunningAuthz], Awaitable[bool]], *services: RunningAuthz) -> float:
    """How long it takes until all of them are there."""
    started = time.monotonic()
    for service in services:
        await eventually(partial(arrived, service))
    return time.monotonic() - started


async def test_while_it_is_on_every_route_refuses_but_those_for_monitors(authz: RunningAuthz, operate: Operate):
    await authz.become_ready()
    operate("on", "--reason", REASON, "--retry-after", "77")
    await eventually(lambda: closed(authz), BOUND_SECONDS)
    routes = routes_with_permissions(authz.edge.app)
    asked = [(method, path_template(path)) for method, path, _ in routes]
    asked += [("GET", "/nowhere"), ("OPTIONS", CHECK), ("GET", CHECK), ("POST", "/api/v1/health/")]
    refused = set()
    for method, path in asked:
        response = await authz.client.request(method, path, headers=bearer("admin"))
        if path in OPEN_PATHS:
            assert response.json().get("code") != "maintenance" if path != "/metrics" else True, path
            continue
        assert response.status_code == 503, (method, path)
        assert response.headers["retry-after"] == "77"
        assert response.headers["content-type"] == "application/problem+json"
        assert response.headers["x-request-id"] == response.json()["request_id"]
        assert response.json()["code"] == "maintenance"
        assert f"Z: {REASON}." in response.json()["detail"]
        refused.add((method, path))
    assert len(refused) > 60
    assert (await authz.client.get("/api/v1/health")).status_code == 200
    assert (await authz.client.get("/api/v1/version")).status_code == 200
    metrics = await authz.client.get("/metrics", headers=bearer("watcher"))
    assert metrics.status_code == 200
    assert 'route="refused",status="503"' in metrics.text
    assert authz.count_recorded() == 0
    operate("off")
    await eventually(lambda: opened(authz), BOUND_SECONDS)


async def test_what_stays_open_are_the_routes_that_every_service_has(authz: RunningAuthz):
    public = {path for _, path, permission in routes_with_permissions(authz.edge.app) if permission == "public"}
    assert public | {"/metrics"} == OPEN_PATHS


async def test_it_is_not_ready_and_says_since_when_and_why(authz: RunningAuthz, operate: Operate):
    await authz.become_ready()
    since = operate("on", "--reason", REASON)["since"]
    await eventually(lambda: closed(authz), BOUND_SECONDS)
    operate("on", "--reason", "it takes longer")
    response = await authz.client.get("/api/v1/ready")
    assert response.status_code == 503
    assert [error["parameter"] for error in response.json()["errors"]] == ["maintenance"]

    async def told() -> bool:
        detail = (await authz.client.get("/api/v1/ready")).json()["detail"]
        return bool(detail == f"authz is in maintenance since {since[:19]}Z: it takes longer.")

    await eventually(told, BOUND_SECONDS)
    operate("off")
    await authz.become_ready()


async def test_every_replica_obeys_within_a_second_and_one_that_is_started_later_at_once(
    finance_database: ServiceDatabase, operate: Operate
):
    async with running_authz(finance_database) as one, running_authz(finance_database) as other:
        await one.become_ready()
        await other.become_ready()
        operate("on", "--reason", REASON)
        assert await seconds_until(closed, one, other) < BOUND_SECONDS
        operate("off")
        assert await seconds_until(opened, one, other) < BOUND_SECONDS
        operate("on", "--reason", REASON)
        async with running_authz(finance_database) as late:
            assert (await late.check()).json()["code"] == "maintenance"


async def test_a_check_that_is_in_flight_is_answered(authz: RunningAuthz, operate: Operate):
    await authz.become_ready()
    with connect(authz.database.superuser_dsn) as holder, holder.transaction():
        holder.execute("lock table authz.outbox in share row exclusive mode")
        flying = asyncio.create_task(authz.check())

        async def waits() -> bool:
            return bool(holder.execute("select 1 from pg_locks where not granted").fetchall())

        await eventually(waits)
        operate("on", "--reason", REASON)
        await eventually(lambda: closed(authz), BOUND_SECONDS)
        assert not flying.done()
    answer = await flying
    assert (answer.status_code, answer.json()["data"]["allow"]) == (200, True)
    assert authz.event(answer.json()["data"]["decision_id"])


async def test_a_database_that_goes_away_ends_no_maintenance(authz: RunningAuthz, operate: Operate):
    await authz.become_ready()
    operate("on", "--reason", REASON)
    await eventually(lambda: closed(authz), BOUND_SECONDS)
    with authz.unreachable():
        assert (await authz.check()).json()["code"] == "maintenance"
        errors = (await authz.client.get("/api/v1/ready")).json()["errors"]
        assert [error["parameter"] for error in errors] == ["database", "maintenance"]
        assert (await authz.client.get("/api/v1/health")).status_code == 200


async def test_a_look_that_fails_changes_nothing(finance_database: ServiceDatabase, operate: Operate):
    gate = Gate()
    async with create_pool(finance_database.app_dsn, "test", max_size=1) as pool:
        maintenance = Maintenance(pool, gate, structlog.get_logger())
        await maintenance.look()
        assert gate.refusal is None
        operate("on", "--reason", REASON)
        await maintenance.look()
        with AuthzDatabase(finance_database).unreachable():
            await maintenance.look()
            assert gate.refusal is not None
        operate("off")
        await maintenance.look()
    assert gate.refusal is None


async def test_on_the_schema_before_it_all_goes_on_and_readiness_names_the_migration(finance_database: ServiceDatabase):
    database = AuthzDatabase(finance_database)
    database.sql("drop table authz.maintenance")
    database.sql("delete from public._migration_ledger where id = '0011.maintenance'")
    async with running_authz(finance_database) as authz:
        assert (await authz.decide())["allow"]
        detail = (await authz.client.get("/api/v1/ready")).json()["detail"]
        assert "lacks the migration 0011.maintenance" in detail


def test_who_when_and_why_is_kept_for_ever(finance_database: ServiceDatabase, operate: Operate):
    assert operate("status") == {
        "schema": "plystractl.maintenance/1",
        "is_on": False,
        "changed": False,
        "since": None,
        "switches": [],
    }
    assert not operate("off")["changed"]
    first = operate("on", "--reason", REASON)
    assert (first["changed"], first["is_on"], first["since"]) == (True, True, first["switches"][0]["switched_at"])
    assert not operate("on", "--reason", REASON)["changed"]
    second = operate("on", "--reason", "more", "--retry-after", "5")
    assert (second["changed"], second["since"]) == (True, first["since"])
    report = operate("off")
    assert (report["is_on"], report["since"]) == (False, None)
    told = [(each["is_on"], each["reason"], each["retry_after_seconds"]) for each in report["switches"]]
    assert told == [(False, None, None), (True, "more", 5), (True, REASON, 30)]
    assert {each["session_role"] for each in report["switches"]} == {"authz_migrator"}
    assert all("@" in each["operator"] for each in report["switches"])
    for statement in (
        "update authz.maintenance set reason = 'x'",
        "delete from authz.maintenance",
        "truncate authz.maintenance",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="INSERT and nothing else"):
            AuthzDatabase(finance_database).sql(statement)


@pytest.mark.parametrize(
    "columns",
    [
        {"is_on": True, "reason": None},
        {"is_on": True, "retry_after_seconds": None},
        {"is_on": False},
        {"reason": ""},
        {"reason": "x" * 501},
        {"retry_after_seconds": 0},
        {"retry_after_seconds": 86_401},
        {"operator": ""},
    ],
)
def test_a_switch_without_its_reason_or_out_of_bounds_is_refused(
    finance_database: ServiceDatabase, columns: dict[str, Any]
):
    row = {"is_on": True, "operator": "me@here", "reason": REASON, "retry_after_seconds": 30} | columns
    names, places = ", ".join(row), ", ".join(["%s"] * len(row))
    with pytest.raises(psycopg.errors.CheckViolation):
        AuthzDatabase(finance_database).sql(f"insert into authz.maintenance ({names}) values ({places})", *row.values())


@pytest.mark.parametrize(
    "arguments",
    [
        ("on",),
        ("on", "--reason", " "),
        ("on", "--reason", "x" * 501),
        ("on", "--reason", "x", "--retry-after", "0"),
    ],
)
def test_a_switch_that_says_too_little_is_a_fault_of_the_command(
    finance_database: ServiceDatabase, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
):
    monkeypatch.setenv("PLYSTRA_AUTHZ_DSN", finance_database.owner_dsn)
    try:
        code = main(["maintenance", *arguments])
    except SystemExit as end:
        code = int(end.code or 0)
    assert code != 0
    assert AuthzDatabase(finance_database).sql("select 1 from authz.maintenance") == []


def test_a_database_that_is_not_migrated_far_enough_is_named(
    empty_database: ServiceDatabase, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("PLYSTRA_AUTHZ_DSN", empty_database.owner_dsn)
    for command in (("on", "--reason", "x"), ("off",), ("status",)):
        assert main(["maintenance", *command]) == 8
        assert "next: plystractl migrate up --service authz" in capsys.readouterr().err
