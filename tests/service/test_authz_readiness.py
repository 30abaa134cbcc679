"""Guarantee 7 and the public routes: authz says what it is, whether it can work, and what is missing when it can't."""

from __future__ import annotations

import json

import pytest

from services.authz.model import TRACE_VERSION
from shared.migrations.lockfile import required_migrations
from shared.migrations.runner import migrate_up
from shared.release import SERVICE_VERSION
from tests.conftest import ServiceDatabase
from tests.service.authz_service import CHECK, AuthzDatabase, RunningAuthz, bearer, eventually, question, running_authz

REQUIRED = required_migrations("authz")


async def not_ready(authz: RunningAuthz) -> dict[str, str]:
    """What each failing check of /ready says; it must not be ready."""
    response = await authz.client.get("/api/v1/ready")
    assert response.status_code == 503, response.text
    assert response.json()["code"] == "not_ready"
    assert int(response.headers["retry-after"]) >= 1
    faults = {error["parameter"]: error["detail"] for error in response.json()["errors"]}
    assert response.json()["detail"] == " ".join(faults.values())
    return faults


async def schema_version(authz: RunningAuthz) -> str | None:
    response = await authz.client.get("/api/v1/version")
    assert response.status_code == 200
    version: str | None = response.json()["data"]["schema_version"]
    return version


async def test_a_service_that_is_ready_tells_what_it_looked_at(authz: RunningAuthz):
    await authz.become_ready()
    data = (await authz.client.get("/api/v1/ready")).json()["data"]
    checks = {check["name"]: check for check in data["checks"]}
    assert list(checks) == ["database", "migrations", "tail", "outbox", "relay", "maintenance"]
    assert checks["migrations"]["figures"] == {"applied": len(REQUIRED), "head": REQUIRED[-1]}
    assert checks["tail"]["figures"]["revision"] == 36
    assert checks["outbox"]["figures"]["waiting"] == 36
    assert checks["outbox"]["figures"]["ceiling"] == 1_000_000
    assert "No relay is at work" in checks["relay"]["detail"]


async def test_the_version_names_code_schema_and_trace(finance_database: ServiceDatabase):
    async with running_authz(finance_database, build_commit="0123abc", build_time="2026-03-01T12:00:00Z") as authz:
        data = (await authz.client.get("/api/v1/version")).json()["data"]
    assert data == {
        "build": {"commit": "0123abc", "time": "2026-03-01T12:00:00Z"},
        "schema_version": REQUIRED[-1],
        "service": "authz",
        "service_version": SERVICE_VERSION,
        "trace_version": TRACE_VERSION,
    }


async def test_a_database_that_is_not_migrated_makes_it_unready_until_it_is(
    empty_database: ServiceDatabase, capfd: pytest.CaptureFixture[str]
):
    told: list[str] = []

    async def tried_often() -> bool:
        told.extend(json.loads(line)["event"] for line in capfd.readouterr().out.splitlines())
        return told.count("outbox_unreachable") >= 4 and told.count("tail_lost") >= 4

    async def few_sessions() -> bool:
        return len(authz.sessions("tail")) <= 1 and len(authz.sessions("outbox")) <= 1

    async with running_authz(empty_database, log_level="warning") as authz:
        faults = await not_ready(authz)
        assert set(faults) == {"migrations"}
        assert f"lacks the migration {REQUIRED[0]} and {len(REQUIRED) - 1} more" in faults["migrations"]
        assert "plystractl migrate up --service authz" in faults["migrations"]
        assert await schema_version(authz) is None
        assert (await authz.client.get("/api/v1/health")).status_code == 200
        response = await authz.check()
        assert (response.status_code, response.json()["code"]) == (503, "database_unavailable")
        assert "retry-after" in response.headers
        # Waiting takes no more connections the longer it lasts, or none would be left to migrate with.
        await eventually(tried_often)
        await eventually(few_sessions, seconds=2)
        migrate_up("authz", empty_database.owner_dsn)
        AuthzDatabase(empty_database).insert_keys()
        await authz.become_ready()
        assert await schema_version(authz) == REQUIRED[-1]
        assert (await authz.decide())["deny_code"] == "ACTOR_NOT_FOUND"


@pytest.mark.parametrize("missing", [REQUIRED[0], REQUIRED[-1]])
async def test_one_migration_that_is_missing_is_named(finance_database: ServiceDatabase, missing):
    AuthzDatabase(finance_database).as_superuser("delete from public._migration_ledger where id = %s", missing)
    async with running_authz(finance_database) as authz:
        faults = await not_ready(authz)
        assert faults == {
            "migrations": f"The database of authz lacks the migration {missing}."
            " Run: plystractl migrate up --service authz"
        }


async def test_a_migration_that_was_begun_and_not_finished_counts_as_missing(finance_database: ServiceDatabase):
    AuthzDatabase(finance_database).as_superuser(
        "update public._migration_ledger set state = 'started', applied_at = null where id = %s", REQUIRED[-1]
    )
    async with running_authz(finance_database) as authz:
        assert REQUIRED[-1] in (await not_ready(authz))["migrations"]
        assert await schema_version(authz) == REQUIRED[-2]


async def test_a_schema_that_is_ahead_is_fine(finance_database: ServiceDatabase):
    AuthzDatabase(finance_database).as_superuser(
        "insert into public._migration_ledger select '9999.of_the_next_release', 9999, sha256, state, started_at,"
        " applied_at, applied_by, tool_version from public._migration_ledger where ordinal = 1"
    )
    async with running_authz(finance_database) as authz:
        await authz.become_ready()
        assert await schema_version(authz) == "9999.of_the_next_release"


async def test_a_database_that_goes_away_makes_it_unready_and_it_heals_by_itself(authz: RunningAuthz):
    await authz.become_ready()
    await authz.decide()
    with authz.unreachable():
        faults = await not_ready(authz)
        assert set(faults) == {"database"}
        assert (await authz.client.get("/api/v1/health")).json()["data"]["status"] == "alive"
        assert await schema_version(authz) is None
        assert (await authz.client.get("/metrics", headers=bearer("checker"))).status_code in {403, 503}
        response = await authz.check()
        assert response.status_code == 503
        assert response.json()["code"] in {"decision_not_recorded", "facts_unavailable", "database_unavailable"}
        assert int(response.headers["retry-after"]) >= 1
    await authz.become_ready()
    data = await authz.decide()
    assert authz.event(data["decision_id"])


async def test_a_service_that_starts_before_its_database_works_once_it_is_there(finance_database: ServiceDatabase):
    with AuthzDatabase(finance_database).unreachable():
        service = running_authz(finance_database)
        authz = await service.__aenter__()
        assert set(await not_ready(authz)) == {"database"}
    await authz.become_ready()
    assert (await authz.decide())["allow"]
    await service.__aexit__(None, None, None)


async def test_an_outbox_that_cannot_be_written_makes_it_unready(authz: RunningAuthz):
    await authz.become_ready()
    authz.sql("revoke insert on authz.outbox_writer from authz_app")
    authz.cut("outbox")

    async def told() -> bool:
        response = await authz.client.get("/api/v1/ready")
        return response.status_code == 503 and "The outbox cannot be written." in response.json()["detail"]

    await eventually(told)
    response = await authz.client.post(CHECK, json={}, headers=bearer("caller"))
    assert response.status_code == 400
    authz.sql("grant insert on authz.outbox_writer to authz_app")
    await authz.become_ready()


async def test_events_that_audit_refused_are_told_but_do_not_make_it_unready(authz: RunningAuthz):
    authz.sql("insert into authz.outbox_refused (writer_id, sequence, problem, event) values (1, 0, 'why', '')")
    authz.sql("update authz.relay set seen_at = clock_timestamp(), instance = 'r'")
    await authz.become_ready()
    data = (await authz.client.get("/api/v1/ready")).json()["data"]
    (relay,) = [check for check in data["checks"] if check["name"] == "relay"]
    assert "audit refused 1 events for good" in relay["detail"]
    authz.sql("update authz.relay set last_error = 'audit is away'")
    data = (await authz.client.get("/api/v1/ready")).json()["data"]
    assert "audit is away" in next(c for c in data["checks"] if c["name"] == "relay")["detail"]


@pytest.mark.parametrize("part", ["outbox", "tail", "facts"])
async def test_a_session_that_ends_is_replaced_before_anybody_asks(authz: RunningAuthz, part):
    await authz.become_ready()
    await authz.decide()
    for _ in range(3):
        before = authz.sessions(part)
        assert authz.cut(part) == len(before)
        if part != "facts":  # those are made when they are needed
            await eventually(lambda before=before: is_replaced(authz, part, before))
        await authz.become_ready()
        assert (await authz.decide(question(resource_id="invoice_002")))["deny_code"] == "SCOPE_OUT_OF_BOUNDS"


async def is_replaced(authz: RunningAuthz, part: str, before: set[int]) -> bool:
    return bool(authz.sessions(part) - before)
