"""How decisions come to be committed: an answer waits for its commit, and what waits together is committed together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence

import httpx
import psycopg
import pytest

from tests.conftest import ServiceDatabase
from tests.service.authz_service import CHECK, EXPLAIN, RunningAuthz, eventually, question, running_authz


@contextlib.contextmanager
def held(authz: RunningAuthz) -> Iterator[psycopg.Connection]:
    """Let no commit into the outbox through for as long as the block lasts."""
    with psycopg.connect(authz.database.superuser_dsn) as connection:
        connection.execute("lock table authz.outbox in share mode")
        yield connection
        connection.rollback()


async def warm(authz: RunningAuthz) -> None:
    """Have the facts and the key of the plain question in memory, and one decision in the outbox."""
    await authz.become_ready()
    assert (await authz.check()).status_code == 200


async def is_waiting(authz: RunningAuthz) -> bool:
    """Whether the service's commit waits for that lock."""
    ((waiting,),) = authz.as_superuser(
        "select count(*) from pg_stat_activity where datname = %s and application_name like '%% outbox'"
        " and wait_event_type = 'Lock'",
        authz.database.name,
    )
    return bool(waiting)


@pytest.mark.parametrize("path", [CHECK, EXPLAIN])
async def test_no_answer_leaves_before_its_commit_is_done(authz: RunningAuthz, path):
    await warm(authz)
    with held(authz):
        asked = asyncio.create_task(authz.post(path))
        await eventually(lambda: is_waiting(authz))
        # The server answers others meanwhile, so there was time enough for an answer that does not wait.
        for _ in range(20):
            assert (await authz.client.get("/api/v1/health")).status_code == 200
        assert not asked.done()
        assert authz.count_recorded() == 1
    response = await asked
    assert response.status_code == 200
    assert authz.event(response.json()["data"]["decision_id"])


async def test_everything_that_waits_for_one_commit_shares_the_next(authz: RunningAuthz):
    await warm(authz)
    with held(authz):
        first = asyncio.create_task(authz.check())
        await eventually(lambda: is_waiting(authz))
        others = [asyncio.create_task(authz.check()) for _ in range(64)]
        await all_wait(others)
    responses = await asyncio.gather(first, *others)
    assert {response.status_code for response in responses} == {200}
    assert [len(row.events) for row in authz.outbox()] == [1, 1, 64]


async def all_wait(tasks: Sequence[asyncio.Task[httpx.Response]]) -> None:
    """Let the tasks run until each waits for its commit; facts and key are in memory, so nothing else holds them up."""
    for _ in range(20):
        await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)


async def test_a_commit_takes_no_more_events_than_the_setting_says(finance_database: ServiceDatabase):
    async with running_authz(finance_database, commit_max_events=10) as authz:
        await warm(authz)
        with held(authz):
            first = asyncio.create_task(authz.check())
            await eventually(lambda: is_waiting(authz))
            others = [asyncio.create_task(authz.check()) for _ in range(35)]
            await all_wait(others)
        await asyncio.gather(first, *others)
        assert [len(row.events) for row in authz.outbox()] == [1, 1, 10, 10, 10, 5]


async def test_a_commit_takes_no_more_bytes_than_one_delivery(authz: RunningAuthz):
    await authz.become_ready()
    large = question(
        resource_type=None,
        resource_id=None,
        resource={"type": "invoice", "id": "x", "space_id": "space_acme", "properties": {"a": "x" * 16_000}},
    )
    await authz.check(large, key="trusted")
    with held(authz):
        first = asyncio.create_task(authz.check())
        await eventually(lambda: is_waiting(authz))
        others = [asyncio.create_task(authz.check(large, key="trusted")) for _ in range(100)]
        await all_wait(others)
    await asyncio.gather(first, *others)
    sizes = [sum(len(event) + 1 for event in row.events) for row in authz.outbox()]
    assert sum(len(row.events) for row in authz.outbox()) == 102
    assert max(sizes) <= 768 * 1024
    assert len(sizes) <= 6


async def test_the_ceiling_holds_also_for_questions_that_arrive_together(finance_database: ServiceDatabase):
    async with running_authz(finance_database, outbox_ceiling=60) as authz:
        await warm(authz)
        with held(authz):
            asked = [asyncio.create_task(authz.check()) for _ in range(100)]
            await eventually(lambda: is_waiting(authz))
        responses = await asyncio.gather(*asked)
        refused = [response for response in responses if response.status_code != 200]
        assert {(r.status_code, r.json()["code"], r.headers["retry-after"]) for r in refused} == {
            (503, "outbox_full", "5")
        }
        # The 36 changes of the example wait as well.
        assert authz.count_recorded() == 101 - len(refused) <= 60 - 36


async def test_one_who_goes_away_while_his_commit_waits_takes_no_answer_from_others(authz: RunningAuthz):
    await warm(authz)
    with held(authz):
        leaving = asyncio.create_task(authz.check())
        await eventually(lambda: is_waiting(authz))
        staying = [asyncio.create_task(authz.check()) for _ in range(4)]
        await all_wait(staying)
        staying.pop().cancel()
        leaving.cancel()
    responses = await asyncio.gather(*staying)
    assert {response.status_code for response in responses} == {200}
    for response in responses:
        assert authz.event(response.json()["data"]["decision_id"])
    assert (await authz.check()).status_code == 200


async def test_a_commit_that_takes_too_long_is_no_answer_and_the_next_one_is(
    authz: RunningAuthz, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("services.authz.outbox.COMMIT_TIMEOUT_SECONDS", 0.2)
    await warm(authz)
    with held(authz):
        response = await authz.check()
        assert (response.status_code, response.json()["code"]) == (503, "decision_not_recorded")
    await eventually(lambda: answers(authz))


async def answers(authz: RunningAuthz) -> bool:
    return (await authz.check()).status_code == 200


async def test_a_service_that_stops_commits_what_is_queued_and_answers_it(finance_database: ServiceDatabase):
    async with running_authz(finance_database) as authz:
        await warm(authz)
        with held(authz):
            asked = [asyncio.create_task(authz.check())]
            await eventually(lambda: is_waiting(authz))
            asked += [asyncio.create_task(authz.check()) for _ in range(9)]
            await all_wait(asked)
            authz.stop()
            await all_wait(asked)
        responses = await asyncio.gather(*asked)
        given = [r.json()["data"]["decision_id"] for r in responses if r.status_code == 200]
        assert len(given) == 10
        recorded = {event["event_id"] for event in authz.events()}
        assert set(given) <= recorded


async def test_each_start_of_the_service_is_a_writer_with_an_epoch_of_its_own(finance_database: ServiceDatabase):
    for _ in range(2):
        async with running_authz(finance_database) as authz:
            await warm(authz)
    events = authz.events()
    assert [event["sequence"] for event in events] == [0, 0]
    assert events[0]["epoch"] < events[1]["epoch"]
    writers = authz.sql("select source, epoch from authz.outbox_writer where stream = 'decisions' order by epoch")
    assert writers == [(event["source"], event["epoch"]) for event in events]
