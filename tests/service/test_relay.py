"""The relay on a real outbox: everything once acknowledged, each writer's events in order, nothing in anybody's way."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from base64 import b64encode
from collections.abc import AsyncIterator

import msgspec
import psycopg
import pytest

from services.authz.commands import Commands
from services.authz.journal import Author
from services.authz.relay import MAX_EVENTS_BYTES
from services.authz.rows import UserRow
from shared.clock import utc_now
from shared.db import create_pool
from shared.envelope import MAX_BATCH_EVENTS
from shared.identifiers import new_uuid7
from shared.web.strict import MAX_BODY_BYTES
from tests.conftest import ServiceDatabase
from tests.service.relaying import REASON, Outbox, StubAudit, documents, of, until


@pytest.fixture
def outbox(authz_database: ServiceDatabase) -> Outbox:
    """A migrated, empty one."""
    return Outbox(authz_database)


@pytest.fixture
async def audit() -> AsyncIterator[StubAudit]:
    """A server in audit's place that acknowledges everything."""
    async with StubAudit() as stub:
        yield stub


def hurry() -> float:
    """A clock by which the relay's seconds are hundredths of one."""
    return time.monotonic() * 100


async def test_every_event_is_delivered_once_and_each_writers_in_order(outbox: Outbox, audit: StubAudit) -> None:
    events = {name: documents(name, 300) for name in "abc"}

    def write(name: str) -> None:
        writer = outbox.register(name)
        for first in range(0, 300, 10):
            outbox.put(writer, first, events[name][first : first + 10])

    async with outbox.relayed_to(audit):
        await asyncio.gather(*(asyncio.to_thread(write, name) for name in events))
        await outbox.drained()
    for name in events:
        assert of(name, audit.events) == list(range(300))
    assert sorted(audit.events) == sorted(event for each in events.values() for event in each)


async def test_a_transaction_that_commits_late_is_not_passed_over(outbox: Outbox, audit: StubAudit) -> None:
    early, late = outbox.register("early"), outbox.register("late")
    with psycopg.connect(outbox.database.superuser_dsn) as open_transaction:
        open_transaction.execute(
            "insert into authz.outbox (slot, writer_id, first_sequence, last_sequence, events) values (0, %s, 0, 0, %s)",
            [early, documents("early", 1)[0]],
        )
        async with outbox.relayed_to(audit):
            outbox.put(late, 0, documents("late", 1))
            await until(lambda: of("late", audit.events) == [0])
            assert of("early", audit.events) == []
            open_transaction.commit()
            await until(lambda: of("early", audit.events) == [0])


@pytest.mark.parametrize("commits", [4, 8])
async def test_a_clock_that_is_set_back_lets_no_commit_pass_an_earlier_one(
    outbox: Outbox, audit: StubAudit, commits: int
) -> None:
    writer, events = outbox.register("a"), documents("a", commits * 400)
    for number in range(commits):
        outbox.put(writer, number * 400, events[number * 400 : (number + 1) * 400])
    outbox.sql("update authz.outbox set recorded_at = now() - first_sequence * interval '1 second'")
    async with outbox.relayed_to(audit):
        await outbox.drained()
    assert audit.events == events


async def test_nothing_counts_as_delivered_before_it_is_acknowledged(outbox: Outbox, audit: StubAudit) -> None:
    writer = outbox.register("a")
    events = outbox.put(writer, 0, documents("a", 3))
    audit.answer = lambda _: 503
    async with outbox.relayed_to(audit):
        await until(lambda: len(audit.received) >= 3)
        assert outbox.delivered(writer) == -1
        assert outbox.last_error() == f"503 {REASON}"
        audit.answer = lambda _: 200
        await until(lambda: outbox.delivered(writer) == 2)
        await until(lambda: outbox.last_error() is None)
    assert audit.acknowledged == [events]
    assert audit.received == [events] * len(audit.received)


async def test_a_relay_that_is_killed_before_the_answer_sends_again_what_it_sent(
    outbox: Outbox, audit: StubAudit
) -> None:
    writer = outbox.register("a")
    events = outbox.put(writer, 0, documents("a", 5))
    audit.answer = lambda _: None
    async with outbox.relayed_to(audit):
        await until(lambda: audit.received)
    assert outbox.delivered(writer) == -1
    audit.answer = lambda _: 200
    async with outbox.relayed_to(audit):
        await outbox.drained()
    assert audit.received == [events, events]


async def test_what_was_acknowledged_but_could_not_be_marked_is_sent_again(outbox: Outbox, audit: StubAudit) -> None:
    events = outbox.put(outbox.register("a"), 0, documents("a", 5))

    def acknowledge_and_cut(_: list[bytes]) -> int:
        assert outbox.cut("relay") == 1
        audit.answer = lambda _: 200
        return 200

    audit.answer = acknowledge_and_cut
    async with outbox.relayed_to(audit):
        await outbox.drained()
    assert audit.acknowledged == [events, events]


async def test_a_relay_survives_the_loss_of_its_session(outbox: Outbox, audit: StubAudit) -> None:
    writer = outbox.register("a")
    async with outbox.relayed_to(audit):
        for number in range(3):
            outbox.put(writer, number, documents("a", 3)[number : number + 1])
            await outbox.drained()
            outbox.cut("relay")
        outbox.put(writer, 3, documents("a", 4)[3:])
        await outbox.drained()
    assert of("a", audit.events) == [0, 1, 2, 3]


async def test_a_failure_that_an_earlier_relay_noted_is_over_with_the_first_delivery(
    outbox: Outbox, audit: StubAudit
) -> None:
    outbox.sql("update authz.relay set last_error = 'audit was away', last_error_at = now()")
    async with outbox.relayed_to(audit):
        outbox.put(outbox.register("a"), 0, documents("a", 1))
        await until(lambda: outbox.last_error() is None)


async def test_a_backlog_goes_out_in_batches_that_audit_takes(outbox: Outbox, audit: StubAudit) -> None:
    dense = [msgspec.json.encode({"name": "dense", "number": n, "rest": _noise(n, 60_000)}) for n in range(60)]
    kinds = {"many": documents("many", 3_600), "large": documents("large", 240, 60_000), "dense": dense}
    for (name, events), step in zip(kinds.items(), (600, 12, 12), strict=True):
        writer = outbox.register(name)
        for first in range(0, len(events), step):
            outbox.put(writer, first, events[first : first + step])
    async with outbox.relayed_to(audit):
        await outbox.drained()
    for name, events in kinds.items():
        assert of(name, audit.events) == list(range(len(events)))
    assert max(map(len, audit.received)) <= MAX_BATCH_EVENTS
    assert max(sum(len(event) + 1 for event in batch) for batch in audit.received) <= MAX_EVENTS_BYTES
    assert max(audit.bodies) <= MAX_BODY_BYTES
    # A commit is never split: one of the many, five of the large or one of the dense fill a batch, or nearly.
    assert len(audit.received) <= 6 + 5 + 5


def _noise(seed: int, size: int) -> str:
    """A text that can't be made smaller than three quarters of its size."""
    return b64encode(random.Random(seed).randbytes(size * 3 // 4)).decode()


async def test_commits_of_the_release_before_are_delivered_as_well(outbox: Outbox, audit: StubAudit) -> None:
    writer = outbox.register("a")
    events = documents("a", 12)
    outbox.put(writer, 0, events[:4], compressed=False)
    outbox.put(writer, 4, events[4:7])
    outbox.put(writer, 7, events[7:8], compressed=False)
    audit.answer = lambda batch: 400 if 9 in of("a", batch) else 200
    async with outbox.relayed_to(audit):
        await outbox.drained()
        outbox.put(writer, 8, events[8:], compressed=False)
        await outbox.drained()
    assert audit.events == [*events[:9], *events[10:]]
    assert outbox.refused() == [(writer, 9, events[9])]


async def test_a_command_of_more_changes_than_a_batch_takes_is_delivered_whole(
    outbox: Outbox, audit: StubAudit
) -> None:
    rows = [UserRow(id=f"user_{number:05}", email=f"{number}@example.com") for number in range(1_200)]
    async with create_pool(outbox.database.app_dsn, "plystra-authz test", max_size=1) as pool:
        commands = Commands(pool, clock=utc_now, new_event_id=new_uuid7)
        await commands.create(Author(credential_id=None, request_id="test"), rows)
    async with outbox.relayed_to(audit):
        await outbox.drained()
    delivered = [msgspec.json.decode(event) for event in audit.events]
    assert [event["sequence"] for event in delivered] == list(range(1_200))
    assert [event["data"]["entity"]["id"] for event in delivered] == [row.id for row in rows]
    assert max(map(len, audit.received)) <= MAX_BATCH_EVENTS


async def test_only_the_refused_event_is_set_aside_and_the_relay_goes_on(outbox: Outbox, audit: StubAudit) -> None:
    writer, other = outbox.register("a"), outbox.register("b")
    events = documents("a", 8)
    outbox.put(writer, 0, events[:5])
    outbox.put(other, 0, documents("b", 2))
    audit.answer = lambda batch: 400 if 3 in of("a", batch) else 200
    async with outbox.relayed_to(audit):
        await outbox.drained()
        outbox.put(writer, 5, events[5:])
        await outbox.drained()
    assert of("a", audit.events) == [0, 1, 2, 4, 5, 6, 7]
    assert of("b", audit.events) == [0, 1]
    assert outbox.refused() == [(writer, 3, events[3])]
    assert outbox.sql("select problem from authz.outbox_refused") == [(f"400 {REASON}",)]


async def test_an_event_is_set_aside_once_though_audit_goes_away_in_the_middle(
    outbox: Outbox, audit: StubAudit
) -> None:
    writer = outbox.register("a")
    events = outbox.put(writer, 0, documents("a", 5))
    absences = iter([503, 503])

    def answer(batch: list[bytes]) -> int:
        numbers = of("a", batch)
        return 422 if 1 in numbers else next(absences, 200) if 3 in numbers else 200

    audit.answer = answer
    async with outbox.relayed_to(audit):
        await outbox.drained()
    assert outbox.refused() == [(writer, 1, events[1])]
    # What was delivered before audit went away is sent again, still in order.
    assert of("a", audit.events) == [0, 2, 0, 2, 0, 2, 3, 4]


async def test_delivered_commits_are_dropped(outbox: Outbox, audit: StubAudit) -> None:
    writer, events = outbox.register("a"), documents("a", 400)
    async with outbox.relayed_to(audit, monotonic=hurry):
        for first in range(0, 400, 4):
            await asyncio.to_thread(outbox.put, writer, first, events[first : first + 4])
        await outbox.drained()
        await until(lambda: outbox.sql("select count(*) from authz.outbox") == [(0,)])
    assert of("a", audit.events) == list(range(400))


async def test_a_writer_is_set_aside_once_its_process_has_ended_and_all_is_delivered(
    outbox: Outbox, audit: StubAudit
) -> None:
    ended, living = (outbox.register(name, "decisions") for name in ("ended", "living"))

    def drained() -> list[int]:
        rows = outbox.sql("select writer_id::int from authz.outbox_writer where drained order by 1")
        return [row[0] for row in rows]

    with psycopg.connect(outbox.database.app_dsn, autocommit=True) as process:
        process.execute("select pg_advisory_lock(hashtext('plystra.authz.outbox_writer'), %s)", [living])
        for writer, name in ((ended, "ended"), (living, "living")):
            outbox.put(writer, 0, documents(name, 1))
        async with outbox.relayed_to(audit, monotonic=hurry):
            await until(lambda: drained() == [ended])
            outbox.put(living, 1, documents("living", 2)[1:])
            await until(lambda: of("living", audit.events) == [0, 1])
            assert drained() == [ended]
            process.close()
            await until(lambda: drained() == [ended, living])


async def test_of_two_relays_one_delivers_until_its_session_ends(outbox: Outbox, audit: StubAudit) -> None:
    writer, events = outbox.register("a"), documents("a", 6)
    async with StubAudit() as other, contextlib.AsyncExitStack() as life_of_the_first:
        await life_of_the_first.enter_async_context(outbox.relayed_to(audit, part="first"))
        outbox.put(writer, 0, events[:1])
        await outbox.drained()
        async with outbox.relayed_to(other, part="second"):
            await until(lambda: outbox.stands_by("second"))
            for number in range(1, 5):
                outbox.put(writer, number, events[number : number + 1])
                await outbox.drained()
            assert (of("a", audit.events), other.received) == ([0, 1, 2, 3, 4], [])
            await life_of_the_first.aclose()
            outbox.put(writer, 5, events[5:])
            await outbox.drained()
            assert of("a", other.events) == [5]


async def test_a_relay_that_is_stopped_delivers_what_is_there_and_ends(outbox: Outbox, audit: StubAudit) -> None:
    writer, events = outbox.register("a"), documents("a", 2_000)
    async with outbox.relayed_to(audit) as relay:
        await until(lambda: outbox.sql("select seen_at from authz.relay where instance is not null"))
        for first in (0, 1_000):
            outbox.put(writer, first, events[first : first + 1_000])
        await relay.stop()
    assert outbox.waiting() == 0
    assert of("a", audit.events) == list(range(2_000))
    assert outbox.sessions("relay") == set()


async def test_a_relay_that_is_stopped_leaves_the_rest_of_a_long_backlog_to_the_next(
    outbox: Outbox, audit: StubAudit
) -> None:
    writer, events = outbox.register("a"), documents("a", 20_000)
    for first in range(0, 20_000, 1_000):
        outbox.put(writer, first, events[first : first + 1_000])

    def acknowledge_and_stop(_: list[bytes]) -> int:
        relay.relay.stop()
        return 200

    audit.answer = acknowledge_and_stop
    async with outbox.relayed_to(audit, monotonic=lambda: time.monotonic() * 1e6) as relay:
        await until(relay.life.done)
    assert 1 <= len(audit.received) < 20
    assert outbox.waiting() == 20 - len(audit.acknowledged)
    async with outbox.relayed_to(audit):
        await outbox.drained()
    assert of("a", audit.events) == list(range(20_000))


async def test_a_relay_ends_when_it_is_stopped_also_while_audit_is_away(outbox: Outbox, audit: StubAudit) -> None:
    outbox.put(outbox.register("a"), 0, documents("a", 1))
    audit.answer = lambda _: 503
    async with outbox.relayed_to(audit) as relay:
        await until(lambda: outbox.last_error() is not None)
        await relay.stop()
    assert outbox.waiting() == 1
