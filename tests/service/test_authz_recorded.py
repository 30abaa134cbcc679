"""Guarantee 1, recorded before answered: whenever an answer has arrived, its event is committed; else there is no answer."""

from __future__ import annotations

import asyncio
import collections
import random
from typing import Any

import httpx

from services.authz.journal import CHANGES_SOURCE
from tests.conftest import ServiceDatabase
from tests.service.authz_service import RunningAuthz, eventually, question, running_authz


async def test_an_answer_that_has_arrived_is_in_the_outbox_already(authz: RunningAuthz) -> None:
    await authz.become_ready()
    for turn in range(20):
        data = await authz.decide(question(action="approve" if turn % 2 else "reject"))
        event = authz.event(data["decision_id"])
        assert event["data"]["decision"] == data["decision"]
        assert event["data"]["deny_code"] == data["deny_code"]
        assert event["occurred_at"] == data["decided_at"]


async def test_questions_that_arrive_together_share_a_commit(authz: RunningAuthz) -> None:
    await authz.become_ready()
    await authz.decide()
    before = len(authz.outbox())
    answers = await asyncio.gather(*(authz.decide() for _ in range(64)))
    rows = authz.outbox()[before:]
    assert len({answer["decision_id"] for answer in answers}) == 64
    assert sum(len(row.events) for row in rows) == 64
    assert len(rows) <= 16


async def test_a_decision_that_cannot_be_written_is_not_given(authz: RunningAuthz) -> None:
    await authz.become_ready()
    await authz.decide()
    authz.sql("revoke insert on authz.outbox from authz_app")
    response = await authz.check()
    assert_not_given(response, "decision_not_recorded")
    authz.sql("grant insert on authz.outbox to authz_app")
    await eventually(lambda: is_answered(authz))


async def test_answers_survive_cuts_of_the_session_that_commits(authz: RunningAuthz) -> None:
    """Cut at random while many ask: each answer is there once, no sequence has a gap, and the service heals itself."""
    await authz.become_ready()
    chance = random.Random(7)
    answered: list[str] = []
    refused = 0
    stop = asyncio.Event()

    async def ask() -> None:
        nonlocal refused
        while not stop.is_set():
            response = await authz.check()
            if response.status_code == 200:
                answered.append(response.json()["data"]["decision_id"])
            else:
                assert_not_given(response, "decision_not_recorded")
                refused += 1
                await asyncio.sleep(0)

    askers = [asyncio.create_task(ask()) for _ in range(16)]
    for _ in range(12):
        floor = len(answered) + chance.randrange(1, 40)
        await eventually(lambda floor=floor: holds(len(answered) > floor))
        await asyncio.to_thread(authz.cut, "outbox")
    await eventually(lambda: is_answered(authz))
    stop.set()
    await asyncio.gather(*askers)
    assert refused > 0
    ids = collections.Counter(event["event_id"] for event in authz.events())
    assert all(ids[decision_id] == 1 for decision_id in answered)
    assert_gap_free(authz)


async def test_the_ceiling_of_the_outbox_refuses_decisions_until_it_has_drained(
    finance_database: ServiceDatabase,
) -> None:
    async with running_authz(finance_database, outbox_ceiling=60) as authz:
        await authz.become_ready()
        responses = [await authz.check() for _ in range(80)]
        given = [r for r in responses if r.status_code == 200]
        for response in responses[len(given) :]:
            assert_not_given(response, "outbox_full")
        assert len(given) < 60  # the 36 changes of the seed wait as well
        assert authz.count_recorded() == len(given)
        ready = await eventually(lambda: readiness_is(authz, 503))
        assert "ceiling" in ready.json()["detail"]
        authz.sql(
            "update authz.outbox_writer w set delivered_sequence ="
            " (select max(o.last_sequence) from authz.outbox o where o.writer_id = w.writer_id)"
        )
        await eventually(lambda: is_answered(authz))


async def test_changes_have_a_stream_of_their_own_without_a_gap(authz: RunningAuthz) -> None:
    events = authz.events("changes")
    assert [event["sequence"] for event in events] == list(range(36))
    assert {event["source"] for event in events} == {CHANGES_SOURCE}
    assert [event["data"]["revision"] for event in events] == list(range(1, 37))
    assert events[-1]["kind"] == "user_member.revoked"
    assert events[-1]["data"]["reason"] == "the example's revoked binding"


def assert_not_given(response: httpx.Response, code: str) -> None:
    assert response.status_code == 503, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert int(response.headers["retry-after"]) >= 1
    assert response.json()["code"] == code
    assert "allow" not in response.json()


def assert_gap_free(authz: RunningAuthz) -> None:
    """Every writer's sequences begin at 0 and leave none out, in the rows and within the events themselves."""
    by_epoch: dict[tuple[str, int], list[int]] = collections.defaultdict(list)
    for row in authz.outbox():
        assert len(row.events) == row.last_sequence - row.first_sequence + 1
    for event in authz.events():
        by_epoch[(event["source"], event["epoch"])].append(event["sequence"])
    for sequences in by_epoch.values():
        assert sequences == list(range(len(sequences)))


async def holds(condition: bool) -> bool:
    return condition


async def is_answered(authz: RunningAuthz) -> bool:
    return (await authz.check()).status_code == 200


async def readiness_is(authz: RunningAuthz, status: int) -> Any:
    response = await authz.client.get("/api/v1/ready")
    return response if response.status_code == status else None
