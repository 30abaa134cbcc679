"""`plystractl authz catch-up`: only what audit can prove, only what follows, and all of it or nothing."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import psycopg
import pytest

from services.authz.delivery import split_events
from services.authz.seeding import load_example
from shared.ctl.__main__ import main
from shared.ctl.catch_up import catch_up, compare_standing
from shared.ctl.projections import compare_projections
from shared.migrations.errors import ExitCode, OperatorError
from shared.recorded import Recorded, hash_leaf, read_event
from tests.conftest import CloneDatabase, ServiceDatabase, connect

EVENTS = 36


@pytest.fixture(scope="module")
def leaves(clone: Callable[[str], Any]) -> list[bytes]:
    """The changes of the worked example as authz would deliver them."""
    with clone("authz") as database:
        asyncio.run(load_example(database.app_dsn, "finance-reviewer"))
        with connect(database.superuser_dsn) as connection:
            rows = connection.execute("select events from authz.outbox order by first_sequence").fetchall()
    return [leaf for (events,) in rows for leaf in split_events(events)]


@pytest.fixture(scope="module")
def clone(server: Any, template_of: Any) -> CloneDatabase:
    from tests.conftest import fresh_database

    return lambda service: fresh_database(server, service, template=template_of(service))


@pytest.fixture
def audit(audit_database: ServiceDatabase) -> Iterator[psycopg.Connection[Any]]:
    """audit's log, still empty."""
    with connect(audit_database.app_dsn) as connection:
        connection.execute("select audit.ensure_partition(0)")
        yield connection


def append(audit: psycopg.Connection[Any], leaves: list[bytes], **lies: Any) -> None:
    """Put events into the log; `lies` are columns that don't say what the leaf says."""
    fields = ", ".join(["log_index", "recorded_at", *Recorded.__struct_fields__])
    (first,) = audit.execute("select coalesce(max(log_index) + 1, 0) from audit.entry").fetchone() or (0,)
    for index, leaf in enumerate(leaves, start=first):
        event = msgspec.structs.replace(read_event(leaf), **lies)
        values = [index, "2026-01-01T00:00:00Z", *msgspec.structs.astuple(event)]
        audit.execute(f"insert into audit.entry ({fields}) values ({', '.join(['%s'] * len(values))})".encode(), values)


def run(authz: ServiceDatabase, audit: ServiceDatabase) -> int:
    return catch_up(authz.owner_dsn, audit.owner_dsn, lambda _: None).missing


def state(authz: ServiceDatabase) -> list[Any]:
    """How far authz is, and what its changes' writer has delivered."""
    with connect(authz.superuser_dsn) as connection:
        return connection.execute(
            "select (select count(*) from authz.event), (select count(*) from authz.space),"
            " (select max(delivered_sequence) from authz.outbox_writer), (select count(*) from authz.outbox)"
        ).fetchall()


def refused(authz: ServiceDatabase, audit: ServiceDatabase) -> OperatorError:
    """The reason for which nothing was caught up."""
    before = state(authz)
    with pytest.raises(OperatorError) as caught:
        run(authz, audit)
    assert state(authz) == before
    return caught.value


def edited(leaf: bytes, **data: Any) -> bytes:
    """The leaf with other data, canonical still."""
    event = msgspec.json.decode(leaf)
    event["data"] |= data
    return msgspec.json.encode(event, order="sorted")


def test_from_nothing_everything_is_made_again_and_counts_as_delivered(authz_database, audit_database, audit, leaves):
    append(audit, leaves)
    assert run(authz_database, audit_database) == EVENTS
    assert state(authz_database) == [(EVENTS, 1, EVENTS - 1, 0)]
    comparison = compare_projections(authz_database.owner_dsn)
    assert (comparison.differences, comparison.revision) == ([], EVENTS)
    with connect(authz_database.superuser_dsn) as connection:
        ids = [row[0] for row in connection.execute("select event_id::text from authz.event order by revision")]
    assert ids == [read_event(leaf).event_id for leaf in leaves]


def test_a_second_run_finds_nothing_to_do(authz_database, audit_database, audit, leaves):
    append(audit, leaves[:20])
    assert run(authz_database, audit_database) == 20
    once = state(authz_database)
    assert run(authz_database, audit_database) == 0
    assert state(authz_database) == once
    append(audit, leaves[20:])
    assert run(authz_database, audit_database) == EVENTS - 20
    assert compare_projections(authz_database.owner_dsn).differences == []


def test_with_check_nothing_is_written_and_the_number_is_told(
    authz_database, audit_database, audit, leaves, monkeypatch, capsys
):
    append(audit, leaves)
    monkeypatch.setenv("PLYSTRA_AUTHZ_DSN", authz_database.owner_dsn)
    monkeypatch.setenv("PLYSTRA_AUDIT_DSN", audit_database.owner_dsn)
    assert main(["authz", "catch-up", "--check", "--format", "json"]) == ExitCode.FINDINGS
    report = json.loads(capsys.readouterr().out)
    assert (report["schema"], report["standing"]["missing"]) == ("plystractl.authz.catch-up/1", EVENTS)
    assert state(authz_database)[0][0] == 0
    assert main(["authz", "catch-up"]) == ExitCode.USAGE


def test_a_gap_in_what_audit_has_stops_it(authz_database, audit_database, audit, leaves):
    append(audit, [*leaves[:10], *leaves[11:]])
    assert "revision 12 (log index 10) stands where 11 should" in refused(authz_database, audit_database).found


def test_a_leaf_without_its_hash_is_not_taken(authz_database, audit_database, audit, leaves):
    append(audit, leaves[:10])
    append(audit, leaves[10:11], leaf_hash=hash_leaf(b"another"))
    error = refused(authz_database, audit_database)
    assert (error.exit_code, "log index 10" in error.found) == (ExitCode.CANNOT_COMPARE, True)


def test_a_change_that_does_not_begin_where_the_row_is_stops_it(authz_database, audit_database, audit, leaves):
    data = msgspec.json.decode(leaves[0])["data"]
    append(audit, [edited(leaves[0], before=data["after"])])
    assert "doesn't begin where" in refused(authz_database, audit_database).found


def test_a_row_that_breaks_a_law_stops_it(authz_database, audit_database, audit, leaves):
    data = msgspec.json.decode(leaves[0])["data"]
    append(audit, [edited(leaves[0], after=data["after"] | {"status": "unheard_of"})])
    assert "refuses a change" in refused(authz_database, audit_database).found


def test_what_was_decided_on_and_never_came_to_audit_is_told(authz_database, audit_database, audit, leaves):
    from tests.audit_events import decision, read

    append(audit, leaves[:20])
    append(audit, [event.leaf for event in read(decision(revision=23))])
    assert compare_standing(authz_database.owner_dsn, audit_database.owner_dsn).lost == 3


def test_killed_in_the_middle_nothing_has_happened(authz_database, audit_database, audit, leaves):
    append(audit, leaves)
    # The catch-up comes as far as the row that another session holds, and is ended there.
    with connect(authz_database.superuser_dsn) as other, other.transaction():
        other.execute("lock table authz.member_role in access exclusive mode")
        ended: list[Exception] = []

        def work() -> None:
            try:
                run(authz_database, audit_database)
            except OperatorError as error:
                ended.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        with connect(authz_database.superuser_dsn) as killer:
            query = (
                "select pg_terminate_backend(pid) from pg_stat_activity where wait_event_type = 'Lock' and datname = %s"
            )
            while not killer.execute(query, [authz_database.name]).fetchall():
                pass
        thread.join()
    assert [error.exit_code for error in ended] == [ExitCode.UNREACHABLE]  # type: ignore[attr-defined]
    assert state(authz_database) == [(0, 0, None, 0)]
    assert run(authz_database, audit_database) == EVENTS
