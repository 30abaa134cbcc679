"""The index of the log has no gap and no fork, its time does not run backwards, and an event id occurs once: as law."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import errors

from tests.conftest import ServiceDatabase, connect
from tests.database.audit_entries import Connection, indexes, insert

EVENT_ID = "0199c3f0-1234-7abc-8def-0123456789ab"


@pytest.fixture
def app(audit_database: ServiceDatabase) -> Iterator[Connection]:
    """The service's role on an empty log with its first partition."""
    with connect(audit_database.app_dsn) as connection:
        connection.execute("select audit.ensure_partition(0)")
        yield connection


def refused(connection: Connection, first: int, last: int, **given: str) -> str | None:
    """The constraint that refuses these entries."""
    with pytest.raises((errors.CheckViolation, errors.UniqueViolation)) as caught:
        insert(connection, first, last, **given)
    return caught.value.diag.constraint_name


def test_the_log_begins_at_zero(app: Connection) -> None:
    assert refused(app, 1, 1) == "entry_gap_free"
    assert refused(app, 5, 9) == "entry_gap_free"
    insert(app, 0, 4)
    assert indexes(app) == [0, 1, 2, 3, 4]


def test_entries_follow_the_head(app: Connection) -> None:
    insert(app, 0, 2)
    assert refused(app, 4, 4) == "entry_gap_free"
    assert refused(app, 2, 2) == "entry_000000_pkey"
    assert refused(app, 2, 5) == "entry_000000_pkey"
    insert(app, 3, 3)
    assert indexes(app) == [0, 1, 2, 3]


def test_there_is_no_entry_below_zero(app: Connection) -> None:
    with pytest.raises(errors.CheckViolation, match="no partition"):
        insert(app, -1, -1)


def test_one_statement_leaves_no_hole(app: Connection) -> None:
    insert(app, 0, 0)
    columns = "recorded_at, occurred_at, epoch, sequence, revision, event_id, kind, source, leaf_hash, leaf"
    with pytest.raises(errors.CheckViolation, match="without a gap"):
        app.execute(
            f"insert into audit.entry (log_index, {columns}) select i, recorded_at, occurred_at, epoch, sequence, revision,"
            " gen_random_uuid(), kind, source, leaf_hash, leaf from audit.entry, unnest(array[1, 2, 4]) as i".encode()
        )
    assert indexes(app) == [0]


def test_the_order_of_rows_within_a_statement_does_not_matter(app: Connection) -> None:
    with app.cursor().copy(
        "copy audit.entry (log_index, recorded_at, occurred_at, epoch, sequence, revision, event_id, kind, source,"
        " leaf_hash, leaf) from stdin"
    ) as copy:
        for index in (2, 0, 1):
            at = f"2026-01-0{index + 1}T00:00:00Z"
            event_id = EVENT_ID[:-1] + str(index)
            copy.write_row((index, at, at, 1, 1, 0, event_id, "a.b", "x", bytes(32), b"{}"))
    assert indexes(app) == [0, 1, 2]


@pytest.mark.parametrize("table", ["audit.entry", "audit.entry_000000"])
def test_the_owner_is_under_the_same_law_on_every_way_in(
    audit_database: ServiceDatabase, app: Connection, table: str
) -> None:
    insert(app, 0, 0, event_id=EVENT_ID)
    with connect(audit_database.owner_dsn) as owner:
        owner.execute("set role audit_owner")
        assert refused(owner, 2, 3, table=table) == "entry_gap_free"
        assert refused(owner, 1, 1, table=table, at="2025-12-31T23:59:59Z") == "entry_time_order"
        assert refused(owner, 1, 1, table=table, event_id=EVENT_ID) == "entry_by_event_pkey"
        insert(owner, 1, 1, table=table)
        assert indexes(owner) == [0, 1]


def test_a_partition_takes_only_its_own_indexes(audit_database: ServiceDatabase, app: Connection) -> None:
    app.execute("select audit.ensure_partition(1 << 20)")
    with connect(audit_database.owner_dsn) as owner:
        owner.execute("set role audit_owner")
        with pytest.raises(errors.CheckViolation, match="partition constraint"):
            insert(owner, 0, 0, table="audit.entry_000001")


def test_time_may_stand_still_but_not_run_backwards(app: Connection) -> None:
    insert(app, 0, 1, at="2026-01-02T00:00:00Z")
    assert refused(app, 2, 2, at="2026-01-01T23:59:59.999999Z") == "entry_time_order"
    insert(app, 2, 2, at="2026-01-02T00:00:00Z")
    insert(app, 3, 3, at="2026-01-02T00:00:00.000001Z")
    assert indexes(app) == [0, 1, 2, 3]


def test_time_does_not_run_backwards_within_a_statement(app: Connection) -> None:
    with (
        pytest.raises(errors.CheckViolation, match="recorded_at goes back"),
        app.cursor().copy(
            "copy audit.entry (log_index, recorded_at, occurred_at, epoch, sequence, revision, event_id, kind, source,"
            " leaf_hash, leaf) from stdin"
        ) as copy,
    ):
        for index, day in ((0, 1), (1, 3), (2, 2)):
            at = f"2026-01-0{day}T00:00:00Z"
            copy.write_row((index, at, at, 1, 1, 0, EVENT_ID[:-1] + str(index), "a.b", "x", bytes(32), b"{}"))
    assert indexes(app) == []


def test_an_event_id_occurs_once_in_all_partitions_together(app: Connection) -> None:
    insert(app, 0, 0, event_id=EVENT_ID)
    assert refused(app, 1, 1, event_id=EVENT_ID) == "entry_by_event_pkey"
    assert refused(app, 1, 2, event_id=EVENT_ID.replace("0", "1")) == "entry_by_event_pkey"
    assert indexes(app) == [0]


def test_an_entry_that_is_not_committed_has_no_followers(audit_database: ServiceDatabase, app: Connection) -> None:
    app.execute("begin")
    insert(app, 0, 0)
    with connect(audit_database.app_dsn) as other:
        assert refused(other, 1, 1) == "entry_gap_free"
        app.execute("rollback")
        assert indexes(other) == []
        insert(other, 0, 0)
    assert indexes(app) == [0]


def test_a_rolled_back_savepoint_takes_its_followers_with_it(app: Connection) -> None:
    app.execute("begin")
    insert(app, 0, 0)
    app.execute("savepoint here")
    insert(app, 1, 1)
    app.execute("rollback to savepoint here")
    assert refused_in_transaction(app, 2) == "entry_gap_free"
    insert(app, 1, 1)
    app.execute("commit")
    assert indexes(app) == [0, 1]


def refused_in_transaction(connection: Connection, index: int) -> str | None:
    """The constraint that refuses an entry, with the transaction left as it was."""
    connection.execute("savepoint attempt")
    constraint = refused(connection, index, index)
    connection.execute("rollback to savepoint attempt")
    return constraint


def test_writers_that_race_leave_one_line_without_a_gap(audit_database: ServiceDatabase, app: Connection) -> None:
    def write(_: int) -> int:
        written = 0
        with connect(audit_database.app_dsn) as connection:
            for _ in range(40):
                row = connection.execute("select coalesce(max(log_index) + 1, 0) from audit.entry").fetchone()
                assert row is not None
                try:
                    insert(connection, row[0], row[0] + 2)
                    written += 3
                except (errors.CheckViolation, errors.UniqueViolation):
                    continue
        return written

    with ThreadPoolExecutor(4) as threads:
        written = sum(threads.map(write, range(4)))
    assert indexes(app) == list(range(written))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(-2, 2), st.integers(1, 3)), max_size=6))
def test_whatever_is_tried_the_indexes_are_a_line_from_zero(app: Connection, attempts: list[tuple[int, int]]) -> None:
    for offset, count in attempts:
        first = len(indexes(app)) + offset
        try:
            insert(app, first, first + count - 1)
        except (errors.CheckViolation, errors.UniqueViolation):
            assert offset != 0
        else:
            assert offset == 0
    found = indexes(app)
    assert found == list(range(len(found)))
