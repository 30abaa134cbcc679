"""Sessions as `shared/db.py` opens them: what they are set to, when they are given up, and that no password is told."""

from __future__ import annotations

import os
import signal
import traceback

import pytest

import shared.db
from shared.db import DATABASE_ERRORS, connect, create_pool
from tests.conftest import ServiceDatabase

SETTINGS = {
    "application_name": "plystra-test",
    "TimeZone": "UTC",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "25000",
    "work_mem": "8MB",
}


async def test_a_session_says_who_it_is_and_ends_soon_when_its_client_vanishes(graph_database: ServiceDatabase):
    arguments = graph_database.app_dsn, "plystra-test"
    parameters = {"work_mem": "8MB"}
    async with create_pool(*arguments, max_size=1, parameters=parameters) as pool, pool.acquire() as pooled:
        single = await connect(*arguments, parameters)
        for session in (single, pooled):
            assert {name: await session.fetchval(f"show {name}") for name in SETTINGS} == SETTINGS
        await single.close()


async def test_a_pool_has_its_parameters_again_after_somebody_changed_them(graph_database: ServiceDatabase):
    async with create_pool(graph_database.app_dsn, "plystra-test", max_size=1) as pool:
        await pool.execute("set timezone = 'Asia/Tokyo'")
        assert await pool.fetchval("show timezone") == "UTC"


async def test_a_session_whose_server_process_hangs_is_given_up_and_replaced(
    graph_database: ServiceDatabase, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(shared.db, "_COMMAND_SECONDS", 0.5)
    async with create_pool(graph_database.app_dsn, "plystra-test", max_size=1) as pool:
        hung = await pool.fetchval("select pg_backend_pid()")
        os.kill(hung, signal.SIGSTOP)
        try:
            with pytest.raises(DATABASE_ERRORS):
                await pool.fetchval("select 1")
            assert await pool.fetchval("select pg_backend_pid()") != hung
        finally:
            os.kill(hung, signal.SIGCONT)


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://app:hunter2/x@127.0.0.1:1/db",
        "postgresql://app:hunter2#x@127.0.0.1:1/db",
        "postgresql://app:hunter2?x@127.0.0.1:1/db",
        "postgresql://app:hunter2@127.0.0.1:1x/db",
        "postgresql://app:hunter2@127.0.0.1:99999/db",
        "postgresql://app:hunter2@[::1/db",
        "mysql://app:hunter2@127.0.0.1/db",
        "host=127.0.0.1 password=hunter2",
        "postgresql://app:hunter2@127.0.0.1:1/db",
    ],
)
async def test_a_dsn_that_leads_nowhere_is_a_database_that_is_away_and_its_password_is_not_told(dsn):
    with pytest.raises(DATABASE_ERRORS) as single:
        await connect(dsn, "plystra-test")
    with pytest.raises(DATABASE_ERRORS) as pooled:
        async with create_pool(dsn, "plystra-test", max_size=1) as pool:
            await pool.fetchval("select 1")
    for error in (single.value, pooled.value):
        told = repr(error) + str(error) + "".join(traceback.format_exception_only(error))
        assert "hunter2" not in told
        assert error.__cause__ is None or "hunter2" not in repr(error.__cause__)
        assert error.__suppress_context__ or "hunter2" not in repr(error.__context__)
