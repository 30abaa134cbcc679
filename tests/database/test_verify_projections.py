"""`plystractl authz verify-projections`: what the tables hold is what the events made, and every way of lying shows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.authz.commands import Commands
from services.authz.journal import Author
from services.authz.rows import GroupRow, MemberRow, ResourceRow, ResourceTypeRow, UserRow
from services.authz.seeding import load_example
from shared.clock import utc_now
from shared.ctl.__main__ import main
from shared.ctl.projections import NOUNS, compare_projections
from shared.db import create_pool
from shared.identifiers import new_uuid7
from tests.conftest import ServiceDatabase
from tests.database.authz_rows import TABLES, Connection

Lie = Callable[[Connection], object]
SPACE = "space_acme"


@pytest.fixture
async def graph(authz_database: ServiceDatabase) -> ServiceDatabase:
    """The worked example, as its commands made it."""
    await load_example(authz_database.app_dsn, "finance-reviewer")
    return authz_database


@pytest.fixture
def liar(graph: ServiceDatabase) -> Iterator[Connection]:
    """A superuser whom no trigger and no foreign key holds back."""
    with psycopg.connect(graph.superuser_dsn, autocommit=True) as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute("alter table authz.event disable trigger user")
        yield connection


def found(database: ServiceDatabase) -> list[tuple[str, str, int]]:
    """Code, subject and number of all that is wrong."""
    return [(d.code, d.subject, d.total) for d in compare_projections(database.owner_dsn).differences]


def test_every_table_of_the_graph_is_compared():
    assert set(NOUNS) == set(TABLES)


def test_what_the_commands_made_is_what_the_events_say(graph: ServiceDatabase):
    comparison = compare_projections(graph.owner_dsn)
    assert (comparison.differences, comparison.events, comparison.revision) == ([], 36, 36)


def test_an_empty_graph_is_what_no_events_make(authz_database: ServiceDatabase):
    assert compare_projections(authz_database.owner_dsn).differences == []


@pytest.mark.parametrize("noun", NOUNS)
def test_a_value_that_was_changed_past_the_events_is_found_in_every_table(graph, liar: Connection, noun: str):
    ((row_id,),) = liar.execute(f"select min(id) from authz.{noun}").fetchall()
    liar.execute(f"update authz.{noun} set metadata = '{{\"a\": 1}}' where id = %s", [row_id])
    assert found(graph) == [("row_differs", f"authz.{noun} {row_id}", 1)]
    (difference,) = compare_projections(graph.owner_dsn).differences
    assert "metadata is {'a': 1}, should be {}" in difference.seen


@pytest.mark.parametrize("noun", NOUNS)
def test_a_row_that_was_deleted_is_missed_in_every_table(graph, liar: Connection, noun: str):
    rows = liar.execute(f"delete from authz.{noun} returning id").fetchall()
    assert found(graph) == [("row_missing", f"authz.{noun} {min(rows)[0]}", len(rows))]


@pytest.mark.parametrize("noun", NOUNS)
def test_a_row_that_no_event_made_is_found_in_every_table(graph, liar: Connection, noun: str):
    liar.execute(
        f"insert into authz.{noun} select (jsonb_populate_record(null::authz.{noun},"
        f" to_jsonb(t) || jsonb_build_object('id', 'zz', 'key', 'zz', 'path', 'zz', 'email', 'zz@x', 'scope', 'self',"
        f" 'scope_anchor_group_id', null))).* from authz.{noun} t limit 1"
    ) if noun != "role_permission" else liar.execute(
        "insert into authz.role_permission select (jsonb_populate_record(null::authz.role_permission, to_jsonb(t)"
        ' || \'{"id": "zz", "permission_id": "zz"}\')).* from authz.role_permission t limit 1'
    )
    assert found(graph) == [("row_unexplained", f"authz.{noun} zz", 1)]


@pytest.mark.parametrize(
    "lie, faults",
    [
        (
            "delete from authz.event where revision = 5",
            [("revision_gap", "authz.event", 1), ("row_unexplained", "authz.group group_finance_apac", 1)],
        ),
        ("update authz.event set revision = 40 where revision = 36", [("revision_gap", "authz.event", 1)]),
        (
            'update authz.event set after = after || \'{"email": "eve@acme.example"}\''
            " where entity_type = 'user' and entity_id = 'user_alice'",
            [("row_differs", "authz.user user_alice", 1)],
        ),
        (
            "update authz.event set before = '{}' where entity_type = 'user' and entity_id = 'user_alice'",
            [("broken_history", "authz.user user_alice", 1)],
        ),
        (
            "update authz.event set entity_type = 'ghost' where entity_type = 'resource' and entity_id = 'invoice_001'",
            [("unknown_noun", "authz.event", 1), ("row_unexplained", "authz.resource invoice_001", 1)],
        ),
        (
            "update authz.event set after = jsonb_set(after, '{relation_type}', '\"owner\"')"
            " where entity_id = 'um_alice_finance_reviewer_revoked' and before is null",
            [("broken_history", "authz.user_member um_alice_finance_reviewer_revoked", 1)],
        ),
    ],
)
def test_a_history_that_was_rewritten_is_found(graph, liar: Connection, lie: str, faults: list[tuple[str, str, int]]):
    liar.execute(lie)  # type: ignore[arg-type]  # one of the statements above
    assert [fault for fault in found(graph) if fault[0] != "row_missing"] == faults


async def test_two_resources_of_one_id_are_two_rows(graph: ServiceDatabase):
    async with create_pool(graph.app_dsn, "test", max_size=1) as pool:
        commands = Commands(pool, clock=utc_now, new_event_id=new_uuid7)

        author = Author(credential_id=None, request_id="test")
        await commands.create(author, [ResourceTypeRow(id="rt_order", key="order", display_name="Order")])
        await commands.create(author, [ResourceRow(id="invoice_001", resource_type="order", space_id=SPACE)])
    assert found(graph) == []


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["user", "member", "group", "resource", "twice", "clash"]), max_size=8))
async def test_whatever_commands_are_given_also_refused_ones_replay_equals_the_tables(graph: ServiceDatabase, steps):
    async with create_pool(graph.app_dsn, "test", max_size=1) as pool:
        commands = Commands(pool, clock=utc_now, new_event_id=new_uuid7)
        for step in steps:
            name = new_uuid7().replace("-", "")
            rows = {
                "user": [UserRow(id=name, email=f"{name}@x")],
                "member": [MemberRow(id=name, space_id=SPACE, display_name="M")],
                "group": [GroupRow(id=name, space_id=SPACE, key=f"g{name}", name="G", path=f"g{name}")],
                "resource": [ResourceRow(id=name, resource_type="invoice", space_id=SPACE)],
                "twice": [UserRow(id=name, email=f"{name}@x"), UserRow(id=name, email=f"{name}@y")],
                "clash": [UserRow(id=name, email="alice@acme.example")],
            }[step]
            try:
                await commands.create(Author(credential_id=None, request_id="test"), rows)
            except Exception:  # noqa: BLE001  # refused, as some are meant to be
                assert step in ("twice", "clash")
    assert found(graph) == []


def test_the_command_says_what_it_compared_and_what_it_found(graph, liar: Connection, monkeypatch, capsys):
    monkeypatch.setenv("PLYSTRA_AUTHZ_DSN", graph.owner_dsn)
    assert main(["authz", "verify-projections"]) == 0
    assert "✓ authz: each row is what its events made of it (36 events up to revision 36" in capsys.readouterr().out
    liar.execute("update authz.member_role set scope_anchor_group_id = null")
    assert main(["authz", "verify-projections"]) == 1
    printed = capsys.readouterr().out
    assert "row_differs: authz.member_role mr_reviewer_finance_approver" in printed
    assert "scope_anchor_group_id is None, should be 'group_finance'" in printed
    assert "next: Find out who changed the row" in printed
    assert main(["authz", "verify-projections", "--format", "json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["exit_code"], document["revision"]) == (1, 36)
    assert [d["code"] for d in document["differences"]] == ["row_differs"]


@pytest.mark.parametrize("role", ["audit_migrator", "nobody"])
def test_what_it_cannot_read_it_does_not_call_clean(graph, audit_database, monkeypatch, capsys, role: str):
    dsn = audit_database.owner_dsn if role == "audit_migrator" else graph.owner_dsn.replace("/test_", "/no_")
    monkeypatch.setenv("PLYSTRA_AUTHZ_DSN", dsn)
    assert main(["authz", "verify-projections"]) in (3, 8)
    assert "next:" in capsys.readouterr().err
