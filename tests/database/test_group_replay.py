"""`plystractl authz verify-projections` where subtrees were moved: one event stands for all rows below."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import asyncpg
import psycopg
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from services.authz.rows import GroupRow, SpaceRow
from shared.ctl.projections import Difference, compare_projections
from shared.problems import Problem
from tests.conftest import ServiceDatabase
from tests.database.authz_rows import Connection
from tests.service.authz_writer import AUTHOR, Writer, writing

# Beside the tree that is moved: a path that only begins with the same letters, and the same paths in another Space.
PATHS = {
    "acme": ("finance", "finance.apac", "finance.apac.jp", "finance.emea", "financeops", "financeops.apac", "legal"),
    "umbra": ("finance", "finance.apac"),
}


@pytest.fixture
async def writer(authz_database: ServiceDatabase) -> AsyncIterator[Writer]:
    """A writer on a graph of groups alone, each with its Space and path as its id."""
    async with writing(authz_database) as writer:
        for space, paths in PATHS.items():
            rows = [SpaceRow(id=space, key=space, name=space), *(group(space, path) for path in paths)]
            await writer.commands.create(AUTHOR, rows)
        yield writer


STEPS = st.lists(
    st.tuples(st.sampled_from(["move", "move", "make", "change"]), st.integers(0, 99), st.none() | st.integers(0, 99)),
    max_size=8,
)


def group(space: str, path: str, under: str | None = None) -> GroupRow:
    """A group whose id says where it was made, below the group of that id or of the path above."""
    parent, _, key = path.rpartition(".")
    parent_id = under or (f"{space}:{parent}" if parent else None)
    return GroupRow(id=f"{space}:{path}", space_id=space, parent_group_id=parent_id, key=key, name=key, path=path)


@pytest.fixture
def liar(writer: Writer) -> Iterator[Connection]:
    """A superuser whom no trigger and no foreign key holds back."""
    with psycopg.connect(writer.database.superuser_dsn, autocommit=True) as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute("alter table authz.event disable trigger user")
        yield connection


def differences(writer: Writer) -> list[Difference]:
    """All that is wrong."""
    return compare_projections(writer.database.owner_dsn).differences


def found(writer: Writer) -> list[tuple[str, str, int]]:
    """Code, subject and number of all that is wrong."""
    return [(d.code, d.subject, d.total) for d in differences(writer)]


def path_of(writer: Writer, group_id: str) -> str:
    """The path that is stored."""
    return str(writer.stored("group", group_id)["path"])


async def test_a_move_explains_every_row_below_and_no_other(writer: Writer):
    revision = await writer.move("acme:finance", "acme:legal")
    assert path_of(writer, "acme:finance.apac.jp") == "legal.finance.apac.jp"
    assert writer.stored("group", "acme:finance.apac.jp")["revision"] == revision
    assert path_of(writer, "acme:financeops.apac") == "financeops.apac"
    assert path_of(writer, "umbra:finance.apac") == "finance.apac"
    assert found(writer) == []


async def test_moves_of_moves_are_followed_also_back_to_where_it_began(writer: Writer):
    await writer.move("acme:finance.apac", "acme:legal")
    await writer.move("acme:legal", "acme:financeops", key="law")
    await writer.move("acme:finance", "acme:finance.apac")
    assert path_of(writer, "acme:finance.emea") == "financeops.law.apac.finance.emea"
    assert found(writer) == []
    await writer.move("acme:finance", None)
    await writer.move("acme:legal", None, key="legal")
    await writer.move("acme:finance.apac", "acme:finance")
    assert path_of(writer, "acme:finance.apac.jp") == "finance.apac.jp"
    assert found(writer) == []


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
async def test_whatever_is_moved_made_and_changed_also_what_is_refused_replay_equals_the_table(writer: Writer, steps):
    for what, first, second in steps:
        with psycopg.connect(writer.database.app_dsn) as connection:
            stored = dict(connection.execute("select id, path from authz.group where space_id = 'acme'").fetchall())
        ids = sorted(stored)
        one, other = ids[first % len(ids)], None if second is None else ids[second % len(ids)]
        try:
            match what:
                case "move":
                    await writer.move(one, other)
                case "make":
                    await writer.commands.create(AUTHOR, [group("acme", f"{stored[one]}.k{len(stored)}", one)])
                case "change":
                    await writer.change(("group", writer.stored("group", one) | {"name": str(other)}))
        except (Problem, asyncpg.IntegrityConstraintViolationError):
            event("refused")  # below itself, or beside one of the same key
    assert found(writer) == []


async def test_a_group_that_is_made_and_changed_below_a_moved_one_is_followed(writer: Writer):
    await writer.move("acme:finance", "acme:legal")
    below = group("acme", "legal.finance.late", "acme:finance")
    await writer.commands.create(AUTHOR, [below])
    # A row that came along has no event to begin with: this one begins as the move left it.
    carried = writer.stored("group", "acme:finance.apac")
    await writer.change(("group", carried | {"name": "Asia"}), ("group", writer.stored("group", below.id)))
    assert found(writer) == []
    await writer.move("acme:finance", None)
    assert path_of(writer, below.id) == "finance.late"
    assert found(writer) == []


@pytest.mark.parametrize(
    "lie, seen",
    [
        ("path = 'finance.apac'", "path is 'finance.apac', should be 'legal.finance.apac'"),
        ("revision = 4", "revision is 4, should be 12"),
        ("name = 'x'", "name is 'x', should be 'apac'"),
        ("updated_at = updated_at + interval '1 microsecond'", "updated_at is"),
    ],
)
async def test_a_row_below_that_is_not_where_the_move_brought_it_is_found(
    writer, liar: Connection, lie: str, seen: str
):
    await writer.move("acme:finance", "acme:legal")
    liar.execute(f"update authz.group set {lie} where id = 'acme:finance.apac'")  # type: ignore[arg-type]  # one of the above
    (difference,) = differences(writer)
    assert (difference.code, difference.subject, difference.total) == (
        "row_differs",
        "authz.group acme:finance.apac",
        1,
    )
    assert difference.seen.startswith(f"since revision 12: {seen}")


async def test_a_row_that_a_move_took_along_though_it_was_not_below_is_found(writer: Writer, liar: Connection):
    await writer.move("acme:finance", "acme:legal")
    liar.execute("update authz.group set path = 'legal.' || path, revision = 12 where id like 'acme:financeops%'")
    liar.execute("update authz.group set path = 'legal.' || path, revision = 12 where id like 'umbra:%'")
    assert found(writer) == [("row_differs", "authz.group acme:financeops", 4)]


async def test_a_row_that_is_missing_or_unexplained_below_a_move_is_found(writer: Writer, liar: Connection):
    await writer.move("acme:finance", "acme:legal")
    liar.execute("delete from authz.group where id = 'acme:finance.apac.jp'")
    (difference,) = differences(writer)
    assert (difference.code, difference.subject) == ("row_missing", "authz.group acme:finance.apac.jp")
    assert "legal.finance.apac.jp" in difference.seen
    liar.execute("delete from authz.event where entity_id = 'acme:finance.apac.jp'")
    liar.execute(
        'insert into authz.group select (jsonb_populate_record(g, \'{"id": "acme:a", "key": "a", "path": "legal.a"}\')).*'
        " from authz.group g where id = 'acme:finance'"
    )
    assert found(writer) == [("revision_gap", "authz.event", 1), ("row_unexplained", "authz.group acme:a", 1)]


async def test_an_event_below_that_begins_where_the_group_stood_before_the_move_is_found(writer, liar: Connection):
    stale = writer.stored("group", "acme:finance.apac")
    await writer.move("acme:finance", "acme:legal")
    await writer.change(("group", writer.stored("group", "acme:finance.apac") | {"name": "Asia"}))
    await writer.change(("group", writer.stored("group", "acme:finance.apac")))
    liar.execute("update authz.event set before = %s where revision = 13", [psycopg.types.json.Jsonb(stale)])
    (difference,) = differences(writer)
    assert (difference.code, difference.subject, difference.total) == (
        "broken_history",
        "authz.group acme:finance.apac",
        1,
    )
    assert difference.seen.startswith(
        "revision 13, group.changed: path is 'finance.apac', should be 'legal.finance.apac'"
    )
    assert "revision is 3, should be 12" in difference.seen


@pytest.mark.parametrize(
    "lie, faults",
    [
        # The event that moved is gone, or says that it moved something else: nothing explains where the rows below are.
        (
            "update authz.event set kind = 'group.changed' where revision = 12",
            [("row_differs", "acme:finance.apac", 3)],
        ),
        (
            'update authz.event set before = before || \'{"path": "financeops"}\' where revision = 12',
            [("broken_history", "acme:finance", 1), ("row_differs", "acme:finance.apac", 4)],
        ),
        (
            'update authz.event set after = after || \'{"name": "x"}\' where revision = 2',
            [("broken_history", "acme:finance", 1)],
        ),
        (
            "update authz.event set before = null where revision = 12",
            [("broken_history", "acme:finance", 1), ("row_differs", "acme:finance.apac", 3)],
        ),
        # The same moment, spelled in another way, is the same value.
        (
            "update authz.event set before = before || jsonb_build_object('created_at', (before ->> 'created_at')"
            "::timestamptz at time zone 'Asia/Tokyo' || '+09:00') where revision = 12",
            [],
        ),
    ],
)
async def test_a_history_of_moves_that_was_rewritten_is_found(writer, liar: Connection, lie: str, faults):
    await writer.move("acme:finance", "acme:legal")
    liar.execute(lie)  # type: ignore[arg-type]  # one of the statements above
    assert found(writer) == [(code, f"authz.group {group_id}", total) for code, group_id, total in faults]


async def test_an_event_that_no_row_can_be_made_from_is_not_called_clean(writer, liar: Connection, monkeypatch, capsys):
    from shared.ctl.__main__ import main

    liar.execute('update authz.event set before = after || \'{"revision": "x"}\' where revision = 2')
    monkeypatch.setenv("PLYSTRA_AUTHZ_DSN", writer.database.owner_dsn)
    assert main(["authz", "verify-projections"]) == 8
    assert "An event holds what its table could never hold" in capsys.readouterr().err
