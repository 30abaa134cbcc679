"""Every statement of services/authz/past.sql fits the migrated schema, fills its Struct, and never scans the log."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from services.authz import past
from services.authz.past import PAST, READ_PARAMETERS, Ancestor
from shared.db import connect as open_session
from shared.embedded.server import EmbeddedPostgres
from tests.conftest import ServiceDatabase, connect, fresh_database
from tests.database.test_authz_queries import spelled

# Name: the types of its parameters, the columns of its rows.
STATEMENTS: dict[str, tuple[list[str], list[str]]] = {
    "find_revision": (["int8"], ["newest", "occurred_at"]),
    "find_revision_at": (["timestamptz"], ["revision"]),
    "load_actor": (["text"] * 4 + ["int8"], ["facts"]),
    "load_roles": (["text[]", "int8"], ["role_id", "facts"]),
    "load_resource": (["text", "text", "int8"], ["facts"]),
    "load_registry": (["text", "text", "int8"], ["facts"]),
    "load_ancestors": (["text[]", "int8"], ["id", *Ancestor._fields]),
}
EACH = 4_000
DEPTH = 200
# A log in which every kind of row occurs as often as every other, once each: `n` is what tells them apart. Groups are chains
# of DEPTH. Each row is written again at the end, so that a look into the past passes over events to come.
KINDS = {
    "user": "'{}'",
    "space": "'{}'",
    "group": f"json_build_object('key', 'g' || n, 'parent_group_id', case when n % {DEPTH} > 0 then 'group_' || n - 1 end)",
    "member": "'{}'",
    "user_member": "'{}'",
    "resource_type": "json_build_object('key', 'type_' || n)",
    "resource_action": "json_build_object('key', 'action_' || n % 7, 'resource_type', 'type_' || n / 7)",
    "role": "'{}'",
    "permission": '\'{"status": "active"}\'',
    "role_permission": "json_build_object('role_id', 'role_' || n / 10, 'permission_id', 'permission_' || n,"
    " 'status', 'active')",
    "member_role": "json_build_object('member_id', 'member_' || n / 10, 'role_id', 'role_' || n,"
    " 'scope_anchor_group_id', 'group_' || n, 'status', 'active')",
    "resource": "json_build_object('resource_type', 'type_' || n, 'group_id', 'group_' || n)",
}
FILL = f"""
insert into authz.event (revision, event_id, occurred_at, kind, entity_type, entity_id, after, request_id)
select turn * {EACH * len(KINDS)} + (n * {len(KINDS)} + position),
    gen_random_uuid(), '2026-01-01T00:00:00Z'::timestamptz + (n + turn * {EACH}) * interval '1 second',
    entity || '.made', entity, entity || '_' || n,
    jsonb_build_object('id', entity || '_' || n, 'space_id', 'space_0') || row::jsonb, 'req'
from generate_series(0, 1) turn, generate_series(0, {EACH - 1}) n, lateral (values
    {", ".join(f"({place}, '{kind}', ({row})::text)" for place, (kind, row) in enumerate(KINDS.items(), start=1))}
) as made (position, entity, row)
"""
THEN = EACH * len(KINDS) - 5
# What is asked for, and how many events may be read to tell it: some for each row that the answer is of.
LOOKUPS: dict[str, tuple[list[str], int]] = {
    "find_revision": ([str(THEN)], 2),
    "find_revision_at": (["'2026-01-01T00:40:00.5Z'"], 1),
    "load_actor": (["'user_7'", "'space_7'", "'member_307'", "'user_member_7'", str(THEN)], 4 + 10 * 4),
    "load_roles": (["array['role_17', 'role_307']", str(THEN)], 2 + 20 * 4),
    "load_resource": (["'type_77'", "'resource_77'", str(THEN)], 3),
    "load_registry": (["'type_33'", "'action_3'", str(THEN)], 8),
    "load_ancestors": (["array['group_199', 'group_399', 'group_198']", str(THEN)], 2 * DEPTH + 8),
}


@pytest.fixture(scope="module")
def filled(server: EmbeddedPostgres, template_of: Callable[[str], str]) -> Iterator[ServiceDatabase]:
    """A log of 96,000 changes that nobody has analyzed."""
    with fresh_database(server, "authz", template=template_of("authz")) as database:
        with connect(database.superuser_dsn) as superuser:
            superuser.execute("alter table authz.event set (autovacuum_enabled = off)")
            superuser.execute(FILL.encode())
        yield database


@pytest.fixture
async def session(filled: ServiceDatabase) -> AsyncIterator[asyncpg.Connection]:
    """A session as the service has for looks into the past."""
    connection = await open_session(filled.app_dsn, "test", READ_PARAMETERS)
    yield connection
    await connection.close()


def test_every_statement_has_a_place_here_and_is_used():
    assert list(STATEMENTS) == list(LOOKUPS) == list(PAST)
    text = Path(past.__file__).read_text(encoding="utf-8")
    assert set(re.findall(r'PAST\["(\w+)"\]', text)) == set(PAST)


@pytest.mark.parametrize("name", PAST)
async def test_a_statement_takes_the_parameters_and_gives_the_columns_that_the_code_knows(session, name):
    prepared = await session.prepare(PAST[name])
    parameters, columns = STATEMENTS[name]
    assert [spelled(one) for one in prepared.get_parameters()] == parameters
    assert [attribute.name for attribute in prepared.get_attributes()] == columns


@pytest.mark.parametrize("name", PAST)
def test_a_statement_reads_the_log_and_no_table_of_the_present(name):
    tables = set(re.findall(r"\bauthz\.\w+", PAST[name]))
    assert tables == {"authz.event"}
    assert PAST[name] == PAST[name].lower().replace('collate "c"', 'collate "C"')


def test_every_statement_says_in_one_sentence_what_it_does():
    parts = Path(past.__file__).with_name("past.sql").read_text(encoding="utf-8").split("-- name: ")[1:]
    for part in parts:
        assert re.match(r"[a-z_]+\n-- [A-Z][^\n]*\.\n[a-z]", part), part


def nodes_of(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A plan's node and all below it."""
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes_of(child)


@pytest.mark.parametrize("analyzed", [False, True])
@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
async def test_no_look_into_the_past_scans_the_log(filled, session, mode, analyzed):
    if analyzed:
        with connect(filled.superuser_dsn) as superuser:
            superuser.execute("analyze authz.event")
    await session.execute(f"set plan_cache_mode = {mode}")
    for name, (values, most) in LOOKUPS.items():
        await session.execute(f"prepare {name} as {PAST[name]}")
        row = await session.fetchval(f"explain (analyze, format json) execute {name} ({', '.join(values)})")
        reads = [node for node in nodes_of(json.loads(row)[0]["Plan"]) if node.get("Relation Name") == "event"]
        assert {node["Node Type"] for node in reads} <= {"Index Scan", "Index Only Scan", "Bitmap Heap Scan"}, name
        seen = sum(
            (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"] for node in reads
        )
        assert 1 <= seen <= most, (name, seen)


async def test_a_scan_of_the_log_would_show(session):
    row = await session.fetchval(
        "explain (analyze, format json) select after from authz.event where after ->> 'space_id' = 'space_0' limit 1"
    )
    assert "Seq Scan" in {node["Node Type"] for node in nodes_of(json.loads(row)[0]["Plan"])}
