"""The outbox drops what is delivered, whole slots at a time, and never a row that is not."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from shared.embedded.server import EmbeddedPostgres
from tests.conftest import ServiceDatabase, fresh_database
from tests.database.authz_outbox import Outbox
from tests.database.conftest import owner_of


@pytest.fixture(scope="module")
def slots_database(server: EmbeddedPostgres, template_of: Callable[[str], str]) -> Iterator[ServiceDatabase]:
    """A database for all tests of this module, which leave an empty outbox."""
    with fresh_database(server, "authz", template=template_of("authz")) as database:
        yield database


@pytest.fixture
def outbox(slots_database: ServiceDatabase) -> Iterator[Outbox]:
    """An empty outbox that writes to slot 0."""
    box = Outbox(slots_database)
    yield box
    box.close()
    with owner_of(slots_database) as owner:
        owner.execute("truncate authz.outbox, authz.outbox_writer")
        owner.execute("update authz.outbox_rotation set slot = 0")


def test_an_empty_outbox_stays_where_it_is(outbox):
    assert outbox.reclaim() == 0
    assert (outbox.current(), outbox.slots()) == (0, {})


def test_a_slot_is_passed_as_soon_as_it_has_rows_and_emptied_once_they_are_delivered(outbox):
    writer = outbox.add_writer()
    outbox.write(writer)
    assert outbox.reclaim() == 0
    assert (outbox.current(), outbox.slots()) == (1, {0: 1})
    outbox.write(writer)
    assert outbox.reclaim() == 0
    assert outbox.slots() == {0: 1, 1: 1}
    outbox.deliver(writer, up_to=0)
    assert outbox.reclaim() == 1
    assert outbox.slots() == {1: 1}


def test_the_slot_that_is_written_to_is_never_emptied(outbox):
    writer = outbox.add_writer()
    outbox.write(writer)
    outbox.deliver(writer)
    assert outbox.reclaim() == 0
    assert outbox.slots() == {0: 1}


def test_one_undelivered_event_of_one_writer_keeps_its_whole_slot(outbox):
    writers = [outbox.add_writer() for _ in range(3)]
    for writer in writers:
        outbox.write(writer)
    outbox.reclaim()
    outbox.deliver(writers[0])
    outbox.deliver(writers[1])
    assert outbox.reclaim() == 0
    assert outbox.slots() == {0: 3}
    outbox.deliver(writers[2])
    assert outbox.reclaim() == 1


def test_a_commit_that_is_delivered_in_part_is_kept(outbox):
    writer = outbox.add_writer()
    outbox.app.execute(
        "insert into authz.outbox (slot, writer_id, first_sequence, last_sequence, events) values (0, %s, 0, 9, '')",
        [writer],
    )
    outbox.deliver(writer, up_to=8)
    assert [outbox.reclaim(), outbox.reclaim()] == [0, 0]
    outbox.deliver(writer, up_to=9)
    assert outbox.reclaim() == 1


def test_the_rows_of_a_writer_that_nobody_registered_are_kept(outbox):
    outbox.app.execute(
        "insert into authz.outbox (slot, writer_id, first_sequence, last_sequence, events) values (0, 999, 0, 0, '')"
    )
    assert [outbox.reclaim(), outbox.reclaim(), outbox.reclaim()] == [0, 0, 0]
    assert outbox.slots() == {0: 1}


def test_with_all_slots_in_use_nothing_is_lost_and_writing_goes_on(outbox):
    writer = outbox.add_writer()
    for _ in range(3):
        outbox.write(writer)
        outbox.reclaim()
    assert (outbox.current(), outbox.slots()) == (2, {0: 1, 1: 1, 2: 1})
    outbox.write(writer)
    assert outbox.slots() == {0: 1, 1: 1, 2: 2}
    outbox.deliver(writer)
    assert outbox.reclaim() == 2
    assert outbox.slots() == {2: 2}


def test_a_row_that_comes_late_into_a_passed_slot_is_kept_until_it_is_delivered(outbox):
    punctual, late = outbox.add_writer(), outbox.add_writer()
    outbox.write(punctual)
    outbox.reclaim()
    assert outbox.current() == 1
    outbox.deliver(punctual)
    # As when the late writer had read the rotation before it moved on.
    outbox.app.execute(
        "insert into authz.outbox (slot, writer_id, first_sequence, last_sequence, events) values (0, %s, 0, 0, '')",
        [late],
    )
    assert outbox.reclaim() == 0
    assert outbox.slots() == {0: 2}
    outbox.written[late] = 1
    outbox.deliver(late)
    assert outbox.reclaim() == 1


def test_a_row_that_is_being_written_into_a_passed_slot_postpones_the_reclaiming(outbox):
    punctual, slow = outbox.add_writer(), outbox.add_writer()
    outbox.write(punctual)
    outbox.deliver(punctual)
    with psycopg.connect(outbox.database.app_dsn) as connection:
        outbox.write(slow, connection)
        assert outbox.reclaim() == 0
        assert outbox.current() == 1
        with pytest.raises(psycopg.errors.LockNotAvailable):
            outbox.reclaim()
        connection.commit()
    assert outbox.reclaim() == 0
    assert outbox.undelivered() == {(slow, 0)}


def test_a_row_that_is_committed_while_the_reclaiming_waits_for_it_is_kept(outbox):
    punctual, slow = outbox.add_writer(), outbox.add_writer()
    outbox.write(punctual)
    outbox.reclaim()
    outbox.deliver(punctual)
    blocked = "select pg_blocking_pids(%s) <> '{}'"
    for _ in range(50):  # the reclaiming waits a fifth of a second only, which a busy machine may need for other things
        with (
            ThreadPoolExecutor(1) as pool,
            psycopg.connect(outbox.database.app_dsn) as writing,
            psycopg.connect(outbox.database.superuser_dsn, autocommit=True) as watching,
        ):
            writing.execute(
                "insert into authz.outbox (slot, writer_id, first_sequence, last_sequence, events)"
                " values (0, %s, 0, 0, '')",
                [slow],
            )
            reclaimed = pool.submit(outbox.reclaim)
            while (
                not watching.execute(blocked, [outbox.app.info.backend_pid]).fetchall()[0][0] and not reclaimed.done()
            ):
                pass
            if not reclaimed.done():
                writing.commit()
            if reclaimed.exception(10) is None:
                break
            writing.rollback()
    assert reclaimed.result() == 0
    assert outbox.undelivered() == {(slow, 0)}


def test_a_writer_that_read_the_rotation_before_it_moved_on_still_writes_somewhere_safe(outbox):
    writer, slow = outbox.add_writer(), outbox.add_writer()
    with psycopg.connect(outbox.database.app_dsn) as connection:
        connection.execute("set transaction isolation level repeatable read")
        connection.execute("select slot from authz.outbox_rotation")
        for _ in range(3):
            outbox.write(writer)
            outbox.deliver(writer)
            outbox.reclaim()
        outbox.write(slow, connection)
        connection.commit()
    assert outbox.undelivered() == {(slow, 0)}
    for _ in range(4):
        outbox.reclaim()
    assert outbox.undelivered() == {(slow, 0)}


def test_two_that_reclaim_at_once_come_one_after_the_other(outbox):
    writer = outbox.add_writer()
    outbox.write(writer)
    with psycopg.connect(outbox.database.app_dsn) as connection:
        connection.execute("select authz.reclaim_outbox()")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            outbox.reclaim()


@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_in_whatever_order_no_undelivered_row_is_dropped_and_space_comes_back(outbox, seed):
    chance = random.Random(seed)
    writers = [outbox.add_writer() for _ in range(3)]
    delivered = dict.fromkeys(writers, -1)
    for _ in range(120):
        writer = chance.choice(writers)
        match chance.choice(["write", "write", "deliver", "reclaim"]):
            case "write":
                outbox.write(writer)
            case "deliver":
                delivered[writer] = max(delivered[writer], chance.randint(-1, outbox.written[writer] - 1))
                outbox.deliver(writer, delivered[writer])
            case "reclaim":
                outbox.reclaim()
                assert outbox.undelivered() == {
                    (w, sequence) for w in writers for sequence in range(delivered[w] + 1, outbox.written[w])
                }
    for writer in writers:
        outbox.deliver(writer)
    for _ in range(3):
        outbox.reclaim()
    assert set(outbox.slots()) <= {outbox.current()}


def test_a_slot_outside_the_three_is_refused(outbox):
    with pytest.raises(psycopg.errors.CheckViolation):
        outbox.app.execute(
            "insert into authz.outbox (slot, writer_id, first_sequence, last_sequence, events) values (3, 1, 0, 0, '')"
        )


def test_there_is_one_rotation_and_one_relay(authz_database):
    with owner_of(authz_database) as owner:
        for table, columns in (("outbox_rotation", "(slot) values (1)"), ("relay", "default values")):
            with pytest.raises(psycopg.errors.UniqueViolation), owner.transaction():
                owner.execute(f"insert into authz.{table} {columns}")
        for table, columns in (
            ("outbox_rotation", "(singleton, slot) values (false, 1)"),
            ("relay", "(singleton) values (false)"),
        ):
            with pytest.raises(psycopg.errors.CheckViolation), owner.transaction():
                owner.execute(f"insert into authz.{table} {columns}")


@pytest.mark.parametrize(
    "row, constraint",
    [
        ("(0, 1, 5, 4, '')", "outbox_sequence_order"),
        ("(0, 1, 0, 9, ''), (0, 1, 0, 3, '')", "outbox_0_pkey"),
    ],
)
def test_a_commit_has_its_place_in_the_sequence_of_its_writer(outbox, row, constraint):
    with pytest.raises(psycopg.errors.IntegrityError) as caught:
        outbox.app.execute(
            f"insert into authz.outbox (slot, writer_id, first_sequence, last_sequence, events) values {row}"
        )
    assert caught.value.diag.constraint_name == constraint


def test_a_source_starts_an_epoch_once(outbox):
    outbox.add_writer()
    with pytest.raises(psycopg.errors.UniqueViolation) as caught:
        outbox.app.execute("insert into authz.outbox_writer (source, epoch, stream) values ('a', 0, 'changes')")
    assert caught.value.diag.constraint_name == "outbox_writer_epoch_key"
