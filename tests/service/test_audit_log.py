"""The sequencer: what it acknowledges is in the log once, in order, whatever fails; what it refuses leaves nothing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import asdict

from services.audit.log import Log
from services.audit.placement import Accepted, Refused, Stored, place
from shared.identifiers import new_uuid7
from shared.problems import Problem
from shared.recorded import Recorded
from tests.audit_events import CONTEXT, change, decision, read, recorded
from tests.conftest import ServiceDatabase, connect
from tests.database.audit_entries import insert
from tests.service.audit_service import AuditDatabase, document, eventually, leaves_of, running_log


@pytest.fixture
async def log(audit_database: ServiceDatabase) -> AsyncIterator[Log]:
    """A sequencer that leads, on an empty log."""
    async with running_log(audit_database) as running:
        assert running.role == "leader"
        yield running


@pytest.fixture
def stored(audit_database: ServiceDatabase) -> AuditDatabase:
    """The database behind it."""
    return AuditDatabase(audit_database)


async def refusal(log: Log, events: list[Recorded]) -> Problem:
    """Why a batch is refused."""
    with pytest.raises(Problem) as caught:
        await log.append(events, CONTEXT)
    return caught.value


async def test_a_batch_is_appended_whole_and_in_its_order(log: Log, stored: AuditDatabase) -> None:
    first, second = recorded(3), read(change(), decision(deny_code="SCOPE_OUT_OF_BOUNDS"))
    appended = await log.append(first, CONTEXT)
    assert [receipt.log_index for receipt in appended.receipts] == [0, 1, 2]
    assert {receipt.status for receipt in appended.receipts} == {"appended"}
    assert appended.log_size == 3
    assert (await log.append(second, CONTEXT)).log_size == 5
    assert list(stored.leaves().items()) == list(leaves_of(first + second).items())


async def test_the_exact_bytes_are_kept(log: Log, stored: AuditDatabase) -> None:
    notes = ("", "é ü 漢字 🂡 \u2028", "\x01\x1f\x7f", '\\ " /', "x" * 60_000)
    events = read(*(decision(note=note) for note in notes))
    await log.append(events, CONTEXT)
    assert stored.leaves() == leaves_of(events)


async def test_the_columns_are_those_derived_from_the_bytes(log: Log, stored: AuditDatabase) -> None:
    events = read(decision(deny_code="SCOPE_OUT_OF_BOUNDS"), change(), change(space_id=None), decision())
    await log.append(events, CONTEXT)
    rows = stored.sql(f"select {', '.join(Recorded.__struct_fields__)} from audit.entry order by log_index")
    for row, event in zip(rows, events, strict=True):
        values = dict(zip(Recorded.__struct_fields__, row, strict=True))
        assert values == asdict(event) | {"event_id": values["event_id"]}
        assert str(values["event_id"]) == event.event_id


async def test_batches_that_wait_are_appended_by_one_commit_in_the_order_of_arrival(
    log: Log, stored: AuditDatabase
) -> None:
    batches = [recorded(1 + i % 3) for i in range(40)]
    answers = await asyncio.gather(*(log.append(batch, CONTEXT) for batch in batches))
    assert list(stored.leaves()) == [event.event_id for batch in batches for event in batch]
    indexes = [receipt.log_index for answer in answers for receipt in answer.receipts]
    assert indexes == list(range(len(indexes)))
    # The first one found the writer idle; the rest came together.
    commits = stored.sql("select count(distinct recorded_at) from audit.entry")[0][0]
    assert commits <= 3


async def test_a_repetition_is_answered_with_the_first_index(log: Log, stored: AuditDatabase) -> None:
    events = recorded(4)
    first = await log.append(events, CONTEXT)
    more = recorded(1)
    again = await log.append([*events[1:3], *more, events[0]], CONTEXT)
    assert [(r.log_index, r.status) for r in again.receipts] == [
        (1, "duplicate"),
        (2, "duplicate"),
        (4, "appended"),
        (0, "duplicate"),
    ]
    assert (first.log_size, again.log_size) == (4, 5)
    assert stored.leaves() == leaves_of(events + more)


async def test_a_repetition_of_nothing_new_appends_nothing(log: Log) -> None:
    events = recorded(2)
    await log.append(events, CONTEXT)
    assert (await log.append(events, CONTEXT)).log_size == 2
    assert log.size == 2


async def test_the_same_event_twice_is_recognised_within_a_batch_and_within_a_commit(
    log: Log, stored: AuditDatabase
) -> None:
    (event,) = recorded(1)
    answers = await asyncio.gather(*(log.append([event, event], CONTEXT) for _ in range(5)))
    statuses = [receipt.status for answer in answers for receipt in answer.receipts]
    assert sorted(statuses) == ["appended"] + ["duplicate"] * 9
    assert stored.leaves() == leaves_of([event])


async def test_other_bytes_under_a_known_id_are_refused_and_nothing_of_the_batch_stays(
    log: Log, stored: AuditDatabase
) -> None:
    events = recorded(3)
    await log.append(events, CONTEXT)
    forged = read(decision(event_id=events[1].event_id, note="forged"))[0]
    fresh = recorded(2)
    problem = await refusal(log, [fresh[0], forged, fresh[1], events[0]])
    assert (problem.code, problem.status) == ("event_conflict", 409)
    (error,) = problem.errors
    assert error.pointer == "/events/1"
    assert events[1].leaf_hash.hex() in error.detail
    assert forged.leaf_hash.hex() in error.detail
    assert "at log index 1" in error.detail
    leaves = stored.leaves()
    assert {event_id: leaves[event_id] for event_id in leaves_of(events)} == leaves_of(events)
    assert not set(leaves_of(fresh)) & set(leaves)


async def test_the_attempt_is_an_event_of_audits_own(log: Log, stored: AuditDatabase) -> None:
    events = recorded(2)
    await log.append(events, CONTEXT)
    forged = read(*(decision(event_id=event.event_id, note="forged") for event in events))
    for _ in range(2):
        await refusal(log, forged)
    own = [document(leaf) for leaf in stored.leaves().values() if b"conflict_refused" in leaf]
    assert [event["sequence"] for event in own] == [0, 1]
    assert {(event["kind"], event["source"]) for event in own} == {("event.conflict_refused", "audit@test")}
    assert len({event["epoch"] for event in own}) == 1
    data = own[0]["data"]
    assert data["actor"] == {"credential_id": "testcredential00", "type": "credential"}
    assert data["entity"] == {"id": events[0].event_id, "type": "event"}
    assert data["request"]["request_id"] == "req_test"
    assert data["after"]["total"] == 2
    assert data["after"]["conflicts"][1] == {
        "event_id": events[1].event_id,
        "log_index": 1,
        "refused_leaf_hash": forged[1].leaf_hash.hex(),
        "stored_leaf_hash": events[1].leaf_hash.hex(),
    }


async def test_a_thousand_conflicts_are_one_event_that_fits(log: Log, stored: AuditDatabase) -> None:
    events = recorded(1_000)
    await log.append(events, CONTEXT)
    problem = await refusal(log, read(*(decision(event_id=event.event_id, note="forged") for event in events)))
    assert len(problem.errors) == 1_000
    (own,) = [document(leaf) for leaf in list(stored.leaves().values())[1_000:]]
    assert own["data"]["after"]["total"] == 1_000


async def test_a_batch_that_contradicts_itself_is_refused(log: Log, stored: AuditDatabase) -> None:
    event_id = new_uuid7()
    problem = await refusal(log, read(decision(event_id=event_id), decision(event_id=event_id, note="other")))
    assert [error.pointer for error in problem.errors] == ["/events/1"]
    assert event_id not in stored.leaves()


async def test_a_refused_batch_does_not_touch_those_of_the_same_commit(log: Log, stored: AuditDatabase) -> None:
    first = recorded(1)
    await log.append(first, CONTEXT)
    forged = read(decision(event_id=first[0].event_id, note="forged"))
    before, after = recorded(2), recorded(2)
    answers = await asyncio.gather(
        *(log.append(batch, CONTEXT) for batch in (before, forged, after)), return_exceptions=True
    )
    assert [type(answer).__name__ for answer in answers] == ["Appended", "Problem", "Appended"]
    leaves = list(stored.leaves())
    assert leaves[1:3] == list(leaves_of(before))
    assert leaves[3:5] == list(leaves_of(after)) or leaves[4:6] == list(leaves_of(after))


async def test_time_in_the_log_stands_still_when_the_clock_goes_back(
    audit_database: ServiceDatabase, stored: AuditDatabase
) -> None:
    noon = datetime(2030, 1, 1, 12, tzinfo=UTC)
    times = [noon, noon, noon - timedelta(hours=1), noon + timedelta(seconds=1)]
    clock = iter(times)
    async with running_log(audit_database, clock=lambda: next(clock)) as log:
        for _ in range(3):
            await log.append(recorded(1), CONTEXT)
    found = [row[0] for row in stored.sql("select recorded_at from audit.entry order by log_index")]
    assert found == [noon, noon, noon + timedelta(seconds=1)]
    async with running_log(audit_database, clock=lambda: noon) as log:
        await log.append(recorded(1), CONTEXT)
    assert stored.sql("select max(recorded_at) from audit.entry")[0][0] == noon + timedelta(seconds=1)


async def test_the_log_rolls_over_into_the_next_partition(
    audit_database: ServiceDatabase, stored: AuditDatabase
) -> None:
    """The head is put near the boundary by the database's superuser, past the law; from there on the law holds."""
    boundary = 2**20
    stored.sql("select audit.ensure_partition(0)")
    stored.sql("alter table audit.entry disable trigger entry_admit")
    stored.sql(
        "insert into audit.entry (log_index, recorded_at, occurred_at, epoch, sequence, revision, event_id, kind, source,"
        " leaf_hash, leaf) values (%s, '2026-01-01Z', now(), 1, 1, 0, gen_random_uuid(), 'a.b', 'x', sha256(''), '{}')",
        boundary - 4,
    )
    stored.sql("alter table audit.entry enable always trigger entry_admit")
    async with running_log(audit_database) as log:
        assert log.size == boundary - 3
        answers = [await log.append(recorded(2), CONTEXT) for _ in range(4)]
        assert [r.log_index for a in answers for r in a.receipts] == list(range(boundary - 3, boundary + 5))
        # A batch across the boundary, repeated.
        (straddling,) = [await log.append(recorded(2_000), CONTEXT)]
        assert straddling.log_size == boundary + 2_005
    counts = stored.sql("select tableoid::regclass::text, count(*) from audit.entry group by 1 order by 1")
    assert counts == [("audit.entry_000000", 4), ("audit.entry_000001", 2_005)]
    # Made ahead: half a partition before it is needed.
    assert stored.sql("select to_regclass('audit.entry_000002') is null") == [(True,)]


async def test_of_two_processes_one_writes_and_the_other_takes_over(
    audit_database: ServiceDatabase, stored: AuditDatabase
) -> None:
    async with running_log(audit_database) as first, running_log(audit_database) as second:
        assert (first.role, second.role) == ("leader", "standby")
        problem = await refusal(second, recorded(1))
        assert (problem.code, problem.status) == ("not_the_sequencer", 503)
        assert ("retry-after", "1") in problem.headers
        events = recorded(2)
        await first.append(events, CONTEXT)
        first.close()
        await eventually(lambda: has_role(second, "leader"))
        assert second.size == 2
        assert (await second.append(events, CONTEXT)).receipts[1].status == "duplicate"
        assert (await second.append(recorded(1), CONTEXT)).log_size == 3
    assert len(stored.leaves()) == 3


async def test_a_writer_that_lost_its_session_leads_again_by_itself(log: Log, stored: AuditDatabase) -> None:
    await log.append(recorded(1), CONTEXT)
    assert stored.cut_sequencer() == 1
    await eventually(lambda: has_role(log, "disconnected"))
    await eventually(lambda: has_role(log, "leader"))
    assert (await log.append(recorded(1), CONTEXT)).log_size == 2


async def test_a_writer_that_comes_back_finds_what_another_wrote(log: Log, stored: AuditDatabase) -> None:
    await log.append(recorded(2), CONTEXT)
    # The other process: it waits for the lock, gets it when the session is cut, and writes three entries.
    with connect(stored.database.superuser_dsn) as other:
        lock = "select pg_advisory_lock(hashtextextended('plystra.audit.sequencer', 0))"
        waiting = asyncio.create_task(asyncio.to_thread(other.execute, lock))
        await eventually(lambda: waits_for_a_lock(stored))
        stored.cut_sequencer()
        await waiting
        await eventually(lambda: has_role(log, "standby"))
        insert(other, 2, 4, at="2027-01-01T00:00:00Z")
    await eventually(lambda: has_role(log, "leader"))
    assert (await log.append(recorded(1), CONTEXT)).log_size == 6
    assert len(stored.leaves()) == 6


async def waits_for_a_lock(stored: AuditDatabase) -> bool:
    """Whether some session of this database waits for an advisory lock."""
    waiting = "select 1 from pg_locks l join pg_database d on d.oid = l.database where d.datname = %s and not l.granted"
    return bool(stored.sql(waiting, stored.database.name))


async def has_role(log: Log, role: str) -> bool:
    """Whether the sequencer is that."""
    return log.role == role


async def test_what_waits_is_written_before_the_writer_closes(
    audit_database: ServiceDatabase, stored: AuditDatabase
) -> None:
    batches = [recorded(50) for _ in range(20)]
    async with running_log(audit_database) as log:
        waiting = [asyncio.create_task(log.append(batch, CONTEXT)) for batch in batches]
        await asyncio.sleep(0)
        log.close()
        assert (await refusal(log, recorded(1))).code == "shutting_down"
    answers = await asyncio.gather(*waiting)
    assert [answer.log_size for answer in answers][-1] == 1_000
    assert len(stored.leaves()) == 1_000


async def test_a_database_that_is_not_migrated_gives_no_writer_and_no_loss(audit_database: ServiceDatabase) -> None:
    stored = AuditDatabase(audit_database)
    stored.sql("alter schema audit rename to elsewhere")
    async with running_log(audit_database, settle_seconds=0.1) as log:
        assert log.role == "disconnected"
        assert (await refusal(log, recorded(1))).code == "log_unavailable"
        stored.sql("alter schema elsewhere rename to audit")
        await eventually(lambda: has_role(log, "leader"))
        assert (await log.append(recorded(1), CONTEXT)).log_size == 1


async def test_a_caller_that_went_away_disturbs_nobody(log: Log, stored: AuditDatabase) -> None:
    batches = [recorded(1) for _ in range(10)]
    tasks = [asyncio.create_task(log.append(batch, CONTEXT)) for batch in batches]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(answer, asyncio.CancelledError) for answer in answers] == [True, False] * 5
    assert {batches[i][0].event_id for i in range(1, 10, 2)} <= set(stored.leaves())


async def test_sessions_cut_at_any_moment_lose_and_double_nothing(
    audit_database: ServiceDatabase, stored: AuditDatabase
) -> None:
    """Two processes, producers that repeat what wasn't acknowledged, and somebody who cuts the writing session again and again."""
    chance = random.Random(7)
    acknowledged: dict[str, bytes] = {}
    cuts = 0

    async def produce(logs: list[Log], batches: int) -> None:
        for _ in range(batches):
            events = recorded(chance.randint(1, 40))
            while True:
                try:
                    await chance.choice(logs).append(events, CONTEXT)
                except Problem as problem:
                    if problem.status != 503:
                        raise
                    await asyncio.sleep(0.002)
                else:
                    acknowledged.update(leaves_of(events))
                    break

    async with running_log(audit_database) as first, running_log(audit_database) as second:
        producers = asyncio.gather(*(produce([first, second], 60) for _ in range(4)))
        while not producers.done():
            await asyncio.sleep(chance.random() * 0.03)
            cuts += await asyncio.to_thread(stored.cut_sequencer)
            await asyncio.wait([asyncio.ensure_future(producers)], timeout=chance.random() * 0.2)
        await producers
    assert cuts > 5
    assert stored.leaves() == acknowledged


def test_placing_is_pure_and_leaves_what_was_known_alone() -> None:
    (event,) = recorded(1)
    known = {event.event_id: Stored(4, event.leaf_hash)}
    placement = place(9, [[event], read(decision()), read(decision(event_id=event.event_id, note="x"))], known)
    kinds = [type(outcome) for outcome in placement.outcomes]
    assert kinds == [Accepted, Accepted, Refused]
    assert [row.event_id for row in placement.rows] == [placement.outcomes[1].receipts[0].event_id]  # type: ignore[union-attr]  # accepted, as just said
    assert known == {event.event_id: Stored(4, event.leaf_hash)}
