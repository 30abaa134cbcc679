"""Every statement of audit's queries.sql fits the migrated schema, and every search goes through an index."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from services.audit import store
from services.audit.model import EventRow, StoredEvent
from services.audit.store import READ_PARAMETERS, SQL, Filters
from shared.credentials import Credential
from shared.db import Connection as Session
from shared.db import connect as open_session
from shared.embedded.server import EmbeddedPostgres
from tests.conftest import ServiceDatabase, connect, fresh_database
from tests.database.audit_entries import insert

ROWS = 50_000
# Every tenth entry is a change, the others are decisions: `d` is null for a change, and so is all that is joined to it.
FILL = f"""
insert into audit.entry (log_index, recorded_at, occurred_at, epoch, sequence, revision, event_id, kind, source, space_id,
    user_id, member_id, resource_type, resource_id, action, decision, deny_code, request_id, entity_type, entity_id,
    leaf_hash, leaf)
select i, '2026-01-01T00:00:00Z'::timestamptz + i * interval '1 second', now(), 1, i, 0, gen_random_uuid(),
    coalesce(d || 'decision.made', 'member_role.' || (array['granted', 'revoked'])[i % 2 + 1]), 'authz',
    'space_' || i % 20, d || 'user_' || i * 7919 % 5000, d || 'member_' || i * 7919 % 5000, d || 'type_' || i % 5,
    d || 'res_' || i * 31 % 20000, d || 'action_' || i % 6, d || case when i % 5 = 0 then 'deny' else 'allow' end,
    d || case when i % 5 = 0 then 'CODE_' || chr(65 + i % 3) end, 'req_' || md5(i::text),
    case when d is null then (array['member_role', 'role', 'user'])[i / 10 % 3 + 1] end,
    case when d is null then 'entity_' || i / 10 % 800 end, sha256('x'),
    convert_to(repeat('x', 800), 'utf8')
from generate_series(0, {ROWS - 1}) as i, lateral (select case when i % 10 <> 3 then '' end as d) as kind
"""
# What is asked for, and which index must answer.
SEARCHES = {
    "space_id": ("space_7", "space_id"),
    "user_id": ("user_42", "user_id"),
    "member_id": ("member_42", "member_id"),
    "resource_type": ("type_2", "resource_type"),
    "resource_id": ("res_17", "resource_id"),
    "action": ("action_4", "action"),
    "deny_code": ("CODE_B", "deny_code"),
    "request_id": ("req_" + "0" * 32, "request_id"),
    "entity_type": ("role", "entity_type"),
    "entity_id": ("entity_7", "entity_id"),
}


@pytest.fixture(scope="module")
def filled(server: EmbeddedPostgres, template_of: Callable[[str], str]) -> Iterator[ServiceDatabase]:
    """A log of 50,000 entries that nobody has analyzed."""
    with fresh_database(server, "audit", template=template_of("audit")) as database:
        with connect(database.superuser_dsn) as superuser:
            superuser.execute("select audit.ensure_partition(0)")
            superuser.execute("alter table audit.entry_000000 set (autovacuum_enabled = off)")
            superuser.execute(FILL.encode())
        yield database


@pytest.fixture
async def session(filled: ServiceDatabase) -> AsyncIterator[Session]:
    """A session as the service's searches have it."""
    connection = await open_session(filled.app_dsn, "test", READ_PARAMETERS)
    yield connection
    await connection.close()


COLUMNS: dict[str, tuple[str, ...]] = {
    "lead_log": ("leads",),
    "read_head": ("log_index", "recorded_at"),
    "ensure_partition": ("partition",),
    "find_log_indexes": ("event_id", "log_index"),
    "find_leaf_hashes": ("log_index", "leaf_hash"),
    "read_log_size": ("log_size",),
    "find_index_at": ("log_index",),
    "list_entries": EventRow.__struct_fields__,
    "get_entry": StoredEvent.__struct_fields__,
    "find_credential": Credential.__struct_fields__,
    "read_migrations": ("id",),
}


def test_every_statement_has_a_place_here() -> None:
    assert set(COLUMNS) == set(SQL)


@pytest.mark.parametrize("name", COLUMNS)
async def test_a_statement_fits_the_schema_and_fills_its_struct(audit_database: ServiceDatabase, name: str) -> None:
    connection = await open_session(audit_database.app_dsn, "test")
    prepared = await connection.prepare(SQL[name])
    assert sorted(attribute.name for attribute in prepared.get_attributes()) == sorted(COLUMNS[name])
    await connection.close()


def test_every_statement_says_in_a_sentence_what_it_does() -> None:
    parts = Path(store.__file__).with_name("queries.sql").read_text(encoding="utf-8").split("-- name: ")[1:]
    for part in parts:
        assert re.match(r"[a-z_]+\n(-- .*\n)*-- .*\.\n[a-z]", part), part


async def plan_of(session: Session, filters: Filters, before: int = ROWS) -> list[dict[str, Any]]:
    """The nodes of the plan of one page of a search."""
    values = [getattr(filters, name) for name in Filters.__struct_fields__ if name not in ("since", "until")]
    row = await session.fetchval(f"explain (format json) {SQL['list_entries']}", 0, before, 51, *values)
    return list(nodes_of(json.loads(row)[0]["Plan"]))


def nodes_of(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A plan's node and all below it."""
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes_of(child)


async def expect_index(session: Session, filters: Filters, column: str) -> None:
    """The search must read one index backwards, and sort nothing."""
    nodes = await plan_of(session, filters)
    kinds = {node["Node Type"] for node in nodes}
    assert not kinds & {"Seq Scan", "Sort", "Incremental Sort", "Bitmap Heap Scan"}, (filters, kinds)
    assert column in nodes[-1]["Index Name"], (filters, nodes[-1])


@pytest.mark.parametrize("analyzed", [False, True])
async def test_every_filter_newest_first_reads_its_index_and_nothing_else(
    filled: ServiceDatabase, session: Session, analyzed: bool
) -> None:
    if analyzed:
        with connect(filled.superuser_dsn) as superuser:
            superuser.execute("analyze audit.entry")
    await expect_index(session, Filters(), "")
    for name, (value, column) in SEARCHES.items():
        await expect_index(session, Filters(**{name: value}), column)
        # As GET /api/v1/audit/decisions asks; of two that match, the planner may take either.
        await expect_index(session, Filters(kind="decision.made", **{name: value}), "")
        # Answers about the past are few: they are found by their kind, or by what else is asked for.
        await expect_index(session, Filters(kind="decision.as_of", **{name: value}), "")
    for filters in (
        Filters(decision="deny"),
        Filters(decision="allow"),
        Filters(kind="decision.made"),
        Filters(kind="member_role.granted"),
        Filters(kind="never.seen"),
    ):
        await expect_index(session, filters, "")


async def test_a_time_is_found_by_halving(session: Session) -> None:
    beginning = datetime(2026, 1, 1, tzinfo=UTC)

    async def index_at(seconds: float) -> int:
        return int(await session.fetchval(SQL["find_index_at"], beginning + timedelta(seconds=seconds)))

    for index in (0, 1, 2, 17_000, 17_001, ROWS - 2, ROWS - 1):
        assert await index_at(index) == index
        assert await index_at(index + 0.5) == index + 1
    assert await index_at(-1) == 0
    assert await index_at(10 * ROWS) == ROWS


async def test_entries_of_one_time_are_found_from_the_first_on(audit_database: ServiceDatabase) -> None:
    days = [3, 3, 3, 5, 5, 9]
    with connect(audit_database.app_dsn) as app:
        assert app.execute("select audit.index_at('2026-01-01Z')").fetchone() == (0,)
        app.execute("select audit.ensure_partition(0)")
        for index, day in enumerate(days):
            insert(app, index, index, at=f"2026-01-{day:02}T00:00:00Z")
        for day in range(1, 11):
            found = app.execute("select audit.index_at(%s)", [f"2026-01-{day:02}T00:00:00Z"]).fetchone()
            assert found == (sum(other < day for other in days),)


def test_an_entry_without_an_entity_costs_the_indexes_of_entities_nothing(audit_database: ServiceDatabase) -> None:
    sizes = (
        "select sum(pg_relation_size(i.indexrelid)), count(*) from pg_index i"
        " where i.indrelid = 'audit.entry_000000'::regclass and pg_get_indexdef(i.indexrelid) like '%(entity\\_%'"
    )
    with connect(audit_database.superuser_dsn) as superuser:
        superuser.execute("select audit.ensure_partition(0)")
        empty = superuser.execute(sizes).fetchone()
        assert empty is not None
        assert empty[1] == 2
        insert(superuser, 0, 4_999)
        assert superuser.execute(sizes).fetchone() == empty
